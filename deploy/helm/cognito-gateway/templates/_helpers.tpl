{{- /*
Only what Go's text/template has by itself is used in this chart, and neither sprig nor Helm's own functions: so tests render the same text
without Helm, from the engine that Helm uses. Values that Kubernetes defines are passed on as JSON, which is YAML.
*/ -}}

{{- define "gateway.name" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}{{- else -}}{{ .Release.Name }}{{- end -}}
{{- end -}}

{{- /* Any value, on one line. */ -}}
{{- define "gateway.json" -}}
{{- $type := printf "%T" . -}}
{{- if or (eq $type "map[string]interface {}") (eq $type "map[interface {}]interface {}") -}}
{{- $first := true -}}
{ {{- range $key, $value := . -}}
{{- if not $first -}}, {{ end -}}{{- $first = false -}}
{{ printf "%q" $key }}: {{ template "gateway.json" $value }}
{{- end -}} }
{{- else if eq $type "[]interface {}" -}}
[ {{- range $index, $value := . -}}
{{- if $index -}}, {{ end -}}{{ template "gateway.json" $value }}
{{- end -}} ]
{{- else if eq $type "string" -}}{{ printf "%q" . }}
{{- else if eq $type "float64" -}}{{ printf "%.15g" . }}
{{- else if eq $type "<nil>" -}}null
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}

{{- define "gateway.labels" -}}
app.kubernetes.io/name: cognito-gateway, app.kubernetes.io/instance: {{ printf "%q" .Release.Name }}
{{- end -}}

{{- define "gateway.chartLabels" -}}
{{ template "gateway.labels" . }}, app.kubernetes.io/version: {{ printf "%q" .Chart.AppVersion }}, app.kubernetes.io/managed-by: {{ .Release.Service }}, helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ if .tag }}{{ .tag }}{{ else }}{{ $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "gateway.authImage" -}}
{{- if .Values.auth.image.repository -}}
{{- with .Values.auth.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ if .tag }}{{ .tag }}{{ else }}{{ $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end -}}
{{- else -}}{{ template "gateway.image" . }}
{{- end -}}
{{- end -}}

{{- define "gateway.secret" -}}
{{- if .Values.secrets.name -}}{{ .Values.secrets.name }}{{- else -}}{{ template "gateway.name" . }}{{- end -}}
{{- end -}}

{{- define "gateway.adminSecret" -}}
{{- if .Values.secrets.admin -}}{{ .Values.secrets.admin }}{{- else -}}{{ template "gateway.name" . }}-admin{{- end -}}
{{- end -}}

{{- /* gateway.yaml, a line for each key: its data, and an annotation that replaces the pods when it changes. */ -}}
{{- define "gateway.configuration" -}}
{{- range $key, $value := .Values.config }}
    {{ printf "%q" $key }}: {{ template "gateway.json" $value }}
{{- end }}
{{- end -}}

{{- define "gateway.environment" }}
            - {name: GATEWAY_LISTEN__CHECK, value: "0.0.0.0:8081"}
            - {name: GATEWAY_LISTEN__PUBLIC, value: "0.0.0.0:8080"}
            - {name: GATEWAY_LISTEN__ADMIN, value: "0.0.0.0:8082"}
            - {name: GATEWAY_LISTEN__HOOKS, value: "0.0.0.0:8083"}
            - {name: GATEWAY_LISTEN__PAGES, value: "0.0.0.0:8084"}
            - {name: GATEWAY_TENANTS__DIRECTORY, value: /etc/gateway/tenants}
            - name: GATEWAY_INGRESS__KEYS
              value: '[{{ range $index, $key := .Values.secrets.ingressKeys }}{{ if $index }}, {{ end }}"file:/run/secrets/gateway/{{ $key }}"{{ end }}]'
{{- if not .Values.embedded.enabled }}
            - {name: GATEWAY_REDIS__URL, value: "file:/run/secrets/gateway/redis_url"}
            - {name: GATEWAY_KEY_RING__FILE, value: /run/secrets/gateway/keys.json}
{{- end }}
{{- end -}}

{{- define "gateway.podSecurity" }}
      enableServiceLinks: false
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
{{- if .Values.imagePullSecrets }}
      imagePullSecrets: {{ template "gateway.json" .Values.imagePullSecrets }}
{{- end }}
{{- end -}}

{{- define "gateway.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{- define "gateway.probes" }}
          startupProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
{{- end -}}

{{- define "gateway.volumes" }}
        - {name: config, configMap: {name: {{ template "gateway.name" . }}}}
        - {name: tenants, configMap: {name: {{ template "gateway.name" . }}-tenants}}
        - {name: secrets, secret: {secretName: {{ template "gateway.secret" . }}, defaultMode: 256}}
        - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
{{- end -}}

{{- define "gateway.mounts" }}
            - {name: config, mountPath: /etc/gateway/gateway.yaml, subPath: gateway.yaml, readOnly: true}
            - {name: tenants, mountPath: /etc/gateway/tenants, readOnly: true}
            - {name: secrets, mountPath: /run/secrets/gateway, readOnly: true}
            - {name: tmp, mountPath: /tmp}
            - {name: state, mountPath: /var/lib/gateway}
{{- end -}}

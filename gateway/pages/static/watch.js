// Says "sign in again" on a page of an application whose session has ended. It asks when a request was refused and when
// the page is looked at again, never by the clock: a page that nobody looks at keeps no session alive.
(() => {
  "use strict";
  const TEXTS = {
    en: ["You are signed out. ", "Sign in (new tab)"],
    de: ["Sie sind abgemeldet. ", "Anmelden (neuer Tab)"],
    fr: ["Vous êtes déconnecté. ", "Se connecter (nouvel onglet)"],
    es: ["Ha cerrado sesión. ", "Iniciar sesión (pestaña nueva)"],
  };
  const fetch = window.fetch;
  let bar, asking, wasSignedIn;

  const show = () => {
    if (bar) return;
    const wanted = [document.documentElement.lang, ...navigator.languages].map((tag) => tag.slice(0, 2).toLowerCase());
    const language = wanted.find((tag) => Object.hasOwn(TEXTS, tag)) || "en";
    const link = document.createElement("a");
    bar = document.createElement("div");
    bar.setAttribute("role", "alert");
    bar.id = "gateway-signed-out";
    bar.lang = language;
    // Single properties: a policy forbids style attributes, not these.
    Object.assign(bar.style, { position: "fixed", zIndex: "2147483647", top: "0", left: "0", right: "0", padding: "12px", background: "#1b1b1b", color: "#fff", font: "16px sans-serif", textAlign: "center" });
    Object.assign(link.style, { color: "#fff", textDecoration: "underline" });
    link.href = "/_auth/login?rd=" + encodeURIComponent(location.pathname + location.search + location.hash);
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = TEXTS[language][1];
    (document.body || document.documentElement).append(bar);
    bar.append(TEXTS[language][0], link);
  };

  // The gateway's own word decides, so that an application's 401 shows nothing. One question at a time.
  const ask = (refused) => {
    if (asking) return;
    asking = true;
    fetch("/_auth/userinfo", { cache: "no-store" })
      .then((answer) => {
        if (answer.ok) {
          wasSignedIn = true;
          if (bar) bar = bar.remove();
        } else if (answer.status === 401 && (refused || wasSignedIn)) show();
      }, () => {})
      .finally(() => { asking = false; });
  };
  const look = (status, url, type) => {
    if (status === 401 && new URL(url, location.href).origin === location.origin && /^application\/problem\+json/i.test(type || "")) ask(true);
  };

  window.fetch = function (...given) {
    const answer = fetch.apply(this, given);
    answer.then((response) => look(response.status, response.url, response.headers.get("content-type")), () => {});
    return answer;
  };
  const send = XMLHttpRequest.prototype.send;
  XMLHttpRequest.prototype.send = function (...given) {
    this.addEventListener("load", () => look(this.status, this.responseURL, this.getResponseHeader("content-type")), { once: true });
    return send.apply(this, given);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(false); });
  ask(false);
})();

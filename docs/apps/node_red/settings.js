module.exports = {
    uiHost: "127.0.0.1",
    uiPort: process.env.PORT,
    flowFile: "flows.json",
    adminAuth: {
        type: "credentials",
        users: [], // no password opens it
        tokenHeader: "remote-user", // in lower case
        tokens: async (email) => ({ username: email, permissions: "*" }),
    },
    editorTheme: { logout: { redirect: "/_auth/logout" }, tours: false },
    telemetry: { enabled: false, updateNotification: false },
}

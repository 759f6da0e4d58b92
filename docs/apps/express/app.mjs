import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";

export const app = express();

// --- the ten lines
const { ASSERTION_ISSUER: issuer, APP_ORIGIN: audience } = process.env;
const keys = createRemoteJWKSet(new URL("/_auth/jwks.json", audience));

app.use(async (req, res, next) => {
  try {
    const token = req.get("X-Auth-Request-Jwt") ?? "";
    req.user = (await jwtVerify(token, keys, { algorithms: ["ES256"], issuer, audience, requiredClaims: ["exp", "sub"] })).payload;
  } catch {
    return res.sendStatus(401);
  }
  next();
});
// --- to here

app.get("/", (req, res) => res.json({ email: req.user.email, tenant: req.user.tenant, groups: req.user.groups }));

/**
 * A small shop with a login of its own, on an origin of its own, and Corral's chat in its page. It shows all that an app
 * needs for `<corral-chat>`: a route that gives the person's token to the page, and a Content-Security-Policy. It needs
 * no packages. README.md says how to start it.
 */
import { createHmac, randomUUID, scryptSync, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const { GATEWAY_JWT_SECRET: SECRET, GATEWAY_JWT_AUDIENCE: AUDIENCE } = process.env;
const GATEWAY = new URL(process.env.GATEWAY_URL ?? "http://127.0.0.1:8000").origin;
const PORT = Number(process.env.PORT ?? 3000);
const TOKEN_SECONDS = Number(process.env.TOKEN_SECONDS ?? 300);
if (!SECRET || !AUDIENCE) throw new Error("set GATEWAY_JWT_SECRET and GATEWAY_JWT_AUDIENCE as for the gateway");

/** Who may sign in. A real shop has a database. */
const people = { alice: digest("wonderland"), bob: digest("builder") };
/** Who is signed in, by the value of their cookie. */
const sessions = new Map();
const FILES = { "/app.js": "text/javascript", "/app.css": "text/css" };

/** What the page may load. The comments say what the chat needs. */
const POLICY = [
  "default-src 'self'",
  `script-src 'self' ${GATEWAY}`, // embed.js and its chunks
  `connect-src 'self' ${GATEWAY} ${GATEWAY.replace("http", "ws")}`, // HTTP and the socket
  "img-src 'self' data: blob:", // pictures in messages
  `font-src 'self' ${GATEWAY}`, // formulas
  "worker-src blob:", // PDFs
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

createServer((request, reply) => {
  answer(request, reply).catch((error) => {
    console.error(error);
    reply.writeHead(500).end();
  });
}).listen(PORT, "127.0.0.1", () => console.log(`The shop is at http://127.0.0.1:${PORT}`));

async function answer(request, reply) {
  const { pathname } = new URL(request.url, "http://shop");
  const cookie = /(?:^|; )session=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
  const user = sessions.get(cookie);
  reply.setHeader("content-security-policy", POLICY);
  reply.setHeader("cache-control", "no-store");
  switch (`${request.method} ${pathname}`) {
    case "GET /":
      return send(reply, "text/html; charset=utf-8", await page(user));
    case "POST /login":
      return signIn(reply, new URLSearchParams(await text(request)));
    case "POST /logout":
      sessions.delete(cookie);
      return redirect(reply, "session=; Max-Age=0");
    case "GET /chat-token":
      if (!user) return reply.writeHead(401).end();
      return send(reply, "application/json", JSON.stringify(tokenFor(user)));
    case "GET /app.js":
    case "GET /app.css":
      return send(reply, FILES[pathname], await readFile(new URL(`.${pathname}`, import.meta.url)));
    default:
      return reply.writeHead(404).end();
  }
}

/** The shop's page for somebody who is signed in; the login for anybody else. */
async function page(user) {
  const file = new URL(user ? "shop.html" : "login.html", import.meta.url);
  const html = await readFile(file, "utf8");
  return html.replaceAll("{{user}}", user ?? "").replaceAll("{{gateway}}", GATEWAY);
}

function signIn(reply, form) {
  const user = form.get("user");
  const isRight = Object.hasOwn(people, user) && timingSafeEqual(people[user], digest(form.get("password") ?? ""));
  if (!isRight) return redirect(reply, "session=; Max-Age=0");
  const session = randomUUID();
  sessions.set(session, user);
  redirect(reply, `session=${session}`);
}

/** A JSON Web Token that says who this is. Short, because nobody can take it back; the page asks for the next one. */
function tokenFor(user) {
  const exp = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
  const claims = { sub: user, name: user, aud: AUDIENCE, exp };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => base64(JSON.stringify(part)));
  const signature = createHmac("sha256", SECRET).update(parts.join(".")).digest();
  return { token: `${parts.join(".")}.${base64(signature)}`, expiresMs: exp * 1000 };
}

function base64(data) {
  return Buffer.from(data).toString("base64url");
}

function digest(password) {
  return scryptSync(password, "a salt for the demo", 32);
}

function send(reply, type, body) {
  reply.writeHead(200, { "content-type": type }).end(body);
}

function redirect(reply, cookie) {
  reply.writeHead(303, { location: "/", "set-cookie": `${cookie}; Path=/; HttpOnly; SameSite=Lax` }).end();
}

async function text(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > 10_000) throw new Error("the form is too long");
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/**
 * Check a receipt without asking the orchestrator: for whoever executes what was approved.
 *
 *     await verifyReceipt(receipt, payload, keys, { useOnce: (jti) => store.add(jti) });
 *
 * `payload` is what is about to be executed; `keys` is the orchestrator's published set of keys
 * (`/.well-known/jwks.json`), kept by the executor. Passes ../vectors/receipts.json.
 */

import canonicalizeModule from "canonicalize";
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from "jose";

export type Code =
  | "malformed"
  | "signature"
  | "payload"
  | "rejected"
  | "expired"
  | "votes"
  | "vote_signature"
  | "log"
  | "used";

/** The receipt does not allow this; `code` is stable, the message one sentence. */
export class ReceiptError extends Error {
  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
    this.name = "ReceiptError";
  }
}

export interface Person {
  id: string;
  name: string;
}

export interface Vote {
  id: string;
  voter: Person;
  seat_of: Person;
  choice: "yes" | "no" | "changes";
  at: number;
  payload_digest: string;
  signature?: VoteSignature | null;
}

/** A passkey's signature of a vote: the authenticator's answer in base64url, and what it is of. */
export interface VoteSignature {
  assertion: {
    credential_id: string;
    authenticator_data: string;
    client_data_json: string;
    signature: string;
    public_key: string;
    sign_count: number;
  };
  statement: string;
}

export interface Approval {
  id: string;
  role: string;
  status: string;
  needed: number;
  deny_threshold: number;
  decided_by: "votes" | "silence" | "override";
  votes: Vote[];
}

export interface LogEvent {
  entry: string;
  index: number;
  proof: string[];
}

export interface Claims {
  iss: string;
  jti: string;
  iat: number;
  exp?: number;
  decision: "approved" | "rejected";
  single_use: boolean;
  task: { id: string; type: string; revision: number; [member: string]: unknown };
  payload_digest: string;
  policy: { name: string; version: number | null; verdict: string };
  approvals: Approval[];
  override: { id: string; by: Person; reason: string } | null;
  log: { origin: string; checkpoint: string; events: LogEvent[] } | null;
}

export interface Options {
  /** The log's verifier keys (`/audit/log/keys`), as `NAME+ID+BASE64`; with any, a proof is checked. */
  logKeys?: string[];
  /** Refuse a receipt without such a proof. */
  requireLog?: boolean;
  /** Verifier keys of witnesses, and how many of them must have cosigned the checkpoint. */
  witnessKeys?: string[];
  witnesses?: number;
  /** Refuse what a policy, silence or one person in an emergency approved. */
  requirePeople?: boolean;
  /** Refuse a yes that no passkey signed; signatures that are there are checked in any case. */
  requireSignatures?: boolean;
  /** The public keys that each person's votes may be signed with (COSE in base64url), by their id. */
  passkeys?: Record<string, string[]>;
  /** Called last: keep the id and return true, or false if it was kept before, both at once. */
  useOnce?: (jti: string) => boolean | Promise<boolean>;
  /** Seconds since 1970, for tests. */
  now?: number;
}

const TYPE = "approval-receipt+jwt";
const MEMBERS = ["context", "data", "description", "from_role", "task_type", "to_role"];
const VERIFIED = 0x01 | 0x04;
const COSE_ED25519 = "a4010103272006215820";
const COSE_ES256 = "a5010203262001215820";
const COSE_Y = "225820";
const text = new TextEncoder();
// Its types describe an ES module, and it is none.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

/**
 * Check that `receipt` allows to execute exactly `payload`, now, and return its claims.
 *
 * @throws ReceiptError
 */
export async function verifyReceipt(
  receipt: string,
  payload: Record<string, unknown>,
  keys: JSONWebKeySet,
  options: Options = {},
): Promise<Claims> {
  const claims = await open(receipt, keys);
  try {
    await checkPayload(claims, payload);
    checkDecision(claims, options.now ?? Date.now() / 1000);
    checkVotes(claims, options.requirePeople ?? false);
    for (const approval of claims.approvals) {
      for (const vote of approval.votes) await checkSignature(claims, approval, vote, options);
    }
    const witnesses = options.witnesses ?? 0;
    await checkLog(claims, options.logKeys ?? [], options.requireLog || witnesses > 0);
    if (witnesses > 0) {
      await checkWitnesses(need(claims.log).checkpoint, options.witnessKeys ?? [], witnesses);
    }
    need(claims.jti);
  } catch (error) {
    if (error instanceof ReceiptError) throw error;
    throw new ReceiptError("malformed", `The receipt lacks something: ${String(error)}.`);
  }
  if (options.useOnce && !(await options.useOnce(claims.jti))) {
    throw new ReceiptError("used", "This receipt was used before.");
  }
  return claims;
}

/** What people approved: the lowercase hex SHA-256 of the payload's RFC 8785 text. */
export async function digestPayload(payload: Record<string, unknown>): Promise<string> {
  return toHex(await sha256(text.encode(canonicalize(payload) ?? "")));
}

async function open(receipt: string, keys: JSONWebKeySet): Promise<Claims> {
  try {
    const found = await compactVerify(receipt, createLocalJWKSet(keys), {
      algorithms: ["Ed25519", "EdDSA"],
    });
    const claims: unknown = JSON.parse(new TextDecoder().decode(found.payload));
    if (found.protectedHeader.typ !== TYPE || typeof claims !== "object" || claims === null) {
      throw new ReceiptError("malformed", "That is signed, but it is no receipt.");
    }
    return claims as Claims;
  } catch (error) {
    if (error instanceof ReceiptError) throw error;
    throw new ReceiptError("signature", `None of the keys signed this receipt: ${String(error)}.`);
  }
}

async function checkPayload(claims: Claims, payload: Record<string, unknown>): Promise<void> {
  if (Object.keys(payload).sort().join() !== MEMBERS.join()) {
    throw new ReceiptError("payload", `A payload has the members ${MEMBERS.join(", ")}.`);
  }
  if ((await digestPayload(payload)) !== need(claims.payload_digest)) {
    throw new ReceiptError("payload", "People decided on another payload than this one.");
  }
}

function checkDecision(claims: Claims, now: number): void {
  if (need(claims.decision) !== "approved") {
    throw new ReceiptError("rejected", "The receipt says that this was rejected.");
  }
  if (claims.exp !== undefined && now >= claims.exp) {
    throw new ReceiptError("expired", "The approval can't be used any more.");
  }
}

/** Count the votes again: each group has the yeses that it needs, each of another person. */
function checkVotes(claims: Claims, requirePeople: boolean): void {
  let byPeople = claims.approvals.length > 0;
  const everybody: string[] = [];
  for (const approval of claims.approvals) {
    if (approval.status !== "approved") {
      throw new ReceiptError("votes", `${approval.role} did not approve this.`);
    }
    const yeses = approval.votes.filter((vote) => vote.choice === "yes");
    everybody.push(...yeses.map((vote) => need(vote.voter.id)));
    if (need(approval.decided_by) !== "votes") {
      byPeople = false;
      continue;
    }
    if (need(approval.needed) < 1) {
      throw new ReceiptError("votes", `${approval.role} needs nobody's vote.`);
    }
    if (yeses.some((vote) => vote.payload_digest !== claims.payload_digest)) {
      throw new ReceiptError("votes", "A vote was given to another payload.");
    }
    const voters = new Set(yeses.map((vote) => vote.voter.id)).size;
    const seats = new Set(yeses.map((vote) => need(vote.seat_of.id))).size;
    if (Math.min(voters, seats) < approval.needed) {
      throw new ReceiptError("votes", `${approval.role} needs ${approval.needed} votes.`);
    }
  }
  if (new Set(everybody).size !== everybody.length) {
    throw new ReceiptError("votes", "Somebody's vote is counted twice.");
  }
  const asked = need(claims.policy.verdict) === "require";
  if (claims.approvals.length === 0 && claims.override === null && asked) {
    throw new ReceiptError("votes", "People had to approve this, and the receipt names nobody.");
  }
  if (requirePeople && !byPeople) {
    throw new ReceiptError("votes", "Not everybody who had to approve this did.");
  }
}

/** Check the passkey's signature of `vote` (WebAuthn, section 7.2), if it has one. */
async function checkSignature(
  claims: Claims,
  approval: Approval,
  vote: Vote,
  options: Options,
): Promise<void> {
  if (!vote.signature) {
    if (options.requireSignatures && vote.choice === "yes") {
      throw new ReceiptError("vote_signature", `${vote.voter.name} did not sign their yes.`);
    }
    return;
  }
  const { assertion, statement: signed } = vote.signature;
  const statement = JSON.parse(signed);
  const clientData = fromBase64Url(assertion.client_data_json);
  const client = JSON.parse(new TextDecoder().decode(clientData));
  const authenticator = fromBase64Url(assertion.authenticator_data);
  const holds =
    (options.passkeys?.[vote.voter.id]?.includes(assertion.public_key) ?? !options.passkeys) &&
    statement.approval === approval.id &&
    statement.task === claims.task.id &&
    statement.revision === claims.task.revision &&
    statement.payload_digest === vote.payload_digest &&
    statement.choice === vote.choice &&
    String(statement.seat) === vote.seat_of.id &&
    client.type === "webauthn.get" &&
    toHex(fromBase64Url(client.challenge)) === toHex(await sha256(text.encode(signed))) &&
    client.origin === statement.origin &&
    !client.crossOrigin &&
    (client.topOrigin ?? null) === null &&
    // Present and verified: a person touched it, and it knew who.
    (need(authenticator[32]) & VERIFIED) === VERIFIED &&
    (await isOf(statement.origin, authenticator)) &&
    (await verifyCose(
      fromBase64Url(assertion.public_key),
      fromBase64Url(assertion.signature),
      concat([...authenticator], await sha256(clientData)),
    ));
  if (!holds) {
    throw new ReceiptError("vote_signature", `${vote.voter.name} did not sign this vote.`);
  }
}

/** Whether the passkey belongs to the domain of `origin`, or to one above it. */
async function isOf(origin: string, authenticator: Uint8Array): Promise<boolean> {
  const labels = new URL(origin).hostname.split(".");
  const used = toHex(authenticator.slice(0, 32));
  for (let start = 0; start < labels.length; start++) {
    if (toHex(await sha256(text.encode(labels.slice(start).join(".")))) === used) return true;
  }
  return false;
}

/**
 * Verify with a COSE key (RFC 9052): Ed25519 or ES256, in the canonical form that authenticators
 * must use.
 */
async function verifyCose(
  key: Uint8Array<ArrayBuffer>,
  signature: Uint8Array<ArrayBuffer>,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const hex = toHex(key);
  if (hex.startsWith(COSE_ED25519) && key.length === 42) {
    return verifyEd25519(key.slice(10), signature, signed);
  }
  if (!hex.startsWith(COSE_ES256) || key.length !== 77 || hex.slice(84, 90) !== COSE_Y) {
    throw new TypeError("a key of another kind");
  }
  const point = concat([4], key.slice(10, 42), key.slice(45));
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  const imported = await crypto.subtle.importKey("raw", point, curve, false, ["verify"]);
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  return crypto.subtle.verify(algorithm, imported, fromDer(signature), signed);
}

/** The two numbers of a DER signature, of 32 bytes each, as WebCrypto wants them. */
function fromDer(signature: Uint8Array): Uint8Array<ArrayBuffer> {
  const numbers: number[] = [];
  let place = 2;
  for (let count = 0; count < 2; count++) {
    const length = need(signature[place + 1]);
    const bytes = [...signature.slice(place + 2, place + 2 + length)];
    while (bytes.length > 32 && bytes[0] === 0) bytes.shift();
    numbers.push(...new Array(Math.max(0, 32 - bytes.length)).fill(0), ...bytes);
    place += 2 + length;
  }
  return Uint8Array.from(numbers);
}

/** Check that the log has the events of the decision, and that these say what is claimed. */
async function checkLog(claims: Claims, logKeys: string[], required: boolean): Promise<void> {
  const log = claims.log ?? null;
  if (log === null || logKeys.length === 0) {
    if (required) throw new ReceiptError("log", "There is no proof, or no key to check it with.");
    return;
  }
  const { size, root } = await openCheckpoint(log.checkpoint, log.origin, logKeys);
  for (const event of log.events) {
    const leaf = await sha256(concat([0], text.encode(event.entry)));
    const found = await computeRoot(leaf, event.index, size, event.proof.map(fromBase64));
    if (found === null || toHex(found) !== toHex(root)) {
      throw new ReceiptError("log", `${log.origin} does not have an event of this receipt.`);
    }
  }
  await checkEvents(
    claims,
    log.events.map((event) => JSON.parse(event.entry)),
  );
}

async function checkEvents(claims: Claims, [decision, ...others]: any[]): Promise<void> {
  if (decision.event_id !== need(claims.jti)) {
    throw new ReceiptError("log", "The receipt is of another decision.");
  }
  if (decision.subject_type !== "task" || decision.subject_id !== claims.task.id) {
    throw new ReceiptError("log", "The proof is of another task.");
  }
  if (decision.to_state !== claims.decision) {
    throw new ReceiptError("log", "The event in the log decided otherwise.");
  }
  if (decision.metadata.payload_digest !== claims.payload_digest) {
    throw new ReceiptError("log", "The event in the log decided on another payload.");
  }
  const until = decision.metadata.approved_until ?? null;
  const end = until === null ? undefined : Math.floor(Date.parse(until) / 1000);
  if (end !== claims.exp) {
    throw new ReceiptError("log", "The log has another end of the approval.");
  }
  // Names may change; a person's id does not.
  const stated = new Set(
    others
      .filter((event) => event.event_type === "vote.cast")
      .map(({ subject_id, actor_id, metadata }) =>
        JSON.stringify([
          subject_id,
          metadata.approval_id,
          actor_id,
          String(metadata.seat_of),
          metadata.choice,
          metadata.payload_digest,
          metadata.assertion_digest ?? null,
        ]),
      ),
  );
  const wanted = new Set(
    others
      .filter((event) => event.event_type === "approval.requested")
      .map(({ subject_id, role, metadata }) => JSON.stringify([subject_id, role, metadata.needed])),
  );
  for (const approval of claims.approvals) {
    if (!wanted.has(JSON.stringify([approval.id, approval.role, approval.needed]))) {
      throw new ReceiptError("log", "The log does not want as many votes as this receipt.");
    }
    for (const { id, voter, seat_of, choice, payload_digest, signature } of approval.votes) {
      const signed = signature ? await digestPayload({ ...signature.assertion }) : null;
      const claimed = [id, approval.id, voter.id, seat_of.id, choice, payload_digest, signed];
      if (!stated.has(JSON.stringify(claimed))) {
        throw new ReceiptError("log", "The log does not have a vote of this receipt.");
      }
    }
  }
}

/** The size and root that one of the keys signed (c2sp.org/tlog-checkpoint). */
async function openCheckpoint(
  note: string,
  origin: string,
  verifierKeys: string[],
): Promise<{ size: number; root: Uint8Array }> {
  const end = note.lastIndexOf("\n\n") + 1;
  const signed = note.slice(0, end);
  const lines = note.slice(end + 1).split("\n").filter(Boolean);
  for (const verifierKey of verifierKeys) {
    const [name, id, ...rest] = verifierKey.trim().split("+");
    for (const line of lines) {
      const [dash, signer, encoded] = line.split(" ");
      const value = fromBase64(need(encoded));
      if (dash !== "—" || signer !== name || name !== origin || toHex(value.slice(0, 4)) !== id) {
        continue;
      }
      const key = fromBase64(rest.join("+")).slice(1);
      if (!(await verifyEd25519(key, value.slice(4), text.encode(signed)))) {
        throw new ReceiptError("log", "The checkpoint's signature is wrong.");
      }
      const [first, size, root] = signed.split("\n");
      if (first !== origin) throw new ReceiptError("log", "The checkpoint is of another log.");
      return { size: Number(size), root: fromBase64(need(root)) };
    }
  }
  throw new ReceiptError("log", "None of the log's keys signed the checkpoint.");
}

/** Count whose cosignatures the checkpoint has (c2sp.org/tlog-cosignature, version 1). */
async function checkWitnesses(note: string, keys: string[], needed: number): Promise<void> {
  // By their keys: one witness under two names is one.
  const found = new Set<string>();
  for (const key of keys) {
    if (await hasCosigned(note, key)) found.add(key.trim().split("+").slice(2).join("+"));
  }
  if (found.size < needed) {
    throw new ReceiptError("log", `${found.size} of the witnesses cosigned, ${needed} must.`);
  }
}

async function hasCosigned(note: string, verifierKey: string): Promise<boolean> {
  const end = note.lastIndexOf("\n\n") + 1;
  const [name, id, ...rest] = verifierKey.trim().split("+");
  const key = fromBase64(rest.join("+")).slice(1);
  for (const line of note.slice(end + 1).split("\n").filter(Boolean)) {
    const [, signer, encoded] = line.split(" ");
    const value = fromBase64(need(encoded));
    if (signer !== name || toHex(value.slice(0, 4)) !== id) continue;
    const time = new DataView(value.buffer).getBigUint64(4);
    const signed = text.encode(`cosignature/v1\ntime ${time}\n${note.slice(0, end)}`);
    if (await verifyEd25519(key, value.slice(12), signed)) return true;
  }
  return false;
}

/** The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2); null if it is none. */
export async function computeRoot(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: Uint8Array[],
): Promise<Uint8Array | null> {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) return null;
  // Divided, not shifted: JavaScript shifts 32 bits.
  const half = (value: number): number => Math.floor(value / 2);
  let [fn, sn, root] = [index, size - 1, leaf];
  for (const each of proof) {
    if (sn === 0) return null;
    if (fn % 2 === 1 || fn === sn) {
      root = await sha256(concat([1], each, root));
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      root = await sha256(concat([1], root, each));
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  return sn === 0 ? root : null;
}

async function verifyEd25519(
  key: Uint8Array<ArrayBuffer>,
  signature: Uint8Array<ArrayBuffer>,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", imported, signature, signed);
}

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

function concat(first: number[], ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...first, ...parts.flatMap((part) => [...part])]);
}

function fromBase64(encoded: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
}

function fromBase64Url(encoded: string): Uint8Array<ArrayBuffer> {
  return fromBase64(encoded.replaceAll("-", "+").replaceAll("_", "/"));
}

function toHex(data: Uint8Array): string {
  return [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function need<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new TypeError("a member is missing");
  return value;
}

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { ReceiptError, verifyReceipt } from "../src/receipts.js";

const file = new URL("../../../vectors/receipts.json", import.meta.url);
const { keys, log_keys: logKeys, witness_keys: witnessKeys, cases } = JSON.parse(readFileSync(file, "utf8"));

for (const each of cases) {
  test(each.name, async () => {
    const checked = verifyReceipt(each.receipt, each.payload, keys, {
      logKeys,
      now: each.now,
      requireLog: each.require_log ?? false,
      requirePeople: each.require_people ?? false,
      requireSignatures: each.require_signatures ?? false,
      passkeys: each.passkeys,
      witnessKeys,
      witnesses: each.witnesses ?? 0,
    });
    if (each.error === null) {
      await checked;
    } else {
      await assert.rejects(checked, (error) => {
        assert.ok(error instanceof ReceiptError, String(error));
        assert.equal(error.code, each.error);
        return true;
      });
    }
  });
}

test("a receipt is used once", async () => {
  const used = new Set<string>();
  const useOnce = (jti: string): boolean => !used.has(jti) && Boolean(used.add(jti));
  const { receipt, payload, now } = cases[0];
  await verifyReceipt(receipt, payload, keys, { now, useOnce });
  await assert.rejects(verifyReceipt(receipt, payload, keys, { now, useOnce }), { code: "used" });
});

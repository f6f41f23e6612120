// A service whose handler asks somebody and waits: each call makes an awakeable, tells its id by
// a line of the file AWAKEABLES, and ends with what the awakeable is resolved with.
import { appendFileSync } from "node:fs";

// The SDK takes it for granted, and Node 20 has none.
Promise.withResolvers ??= function () {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const restate = await import("@restatedev/restate-sdk");

const approvals = restate.service({
  name: "approvals",
  handlers: {
    ask: async (ctx) => {
      const { id, promise } = ctx.awakeable();
      await ctx.run("tell", () => appendFileSync(process.env.AWAKEABLES, `${id}\n`));
      return await promise;
    },
  },
});
restate.serve({ services: [approvals], port: Number(process.env.PORT) });

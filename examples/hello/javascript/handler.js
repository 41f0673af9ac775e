import { write } from "pelton:events/log@0.1.0";

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    const name = nameIn(decoder.decode(event.payload));
    write("info", `greeting ${name}`);
    const payload = encoder.encode(JSON.stringify({ greeting: `Hello, ${name}!` }));
    return [{ subject: "hello.said", headers: event.headers, payload }];
  },
};

function nameIn(text) {
  try {
    const { name } = JSON.parse(text);
    if (typeof name === "string") return name;
  } catch {}
  throw { tag: "reject", val: "nobody to greet" };
}

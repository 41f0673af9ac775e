// What the guests in TypeScript share: a script in the payload says what they do,
// one command a line, as in `tests/guests/porting`.

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** What a contract can do. */
export interface Port {
  publish(subject: string, body: Uint8Array): void;
  reply(body: Uint8Array): void;
  request(subject: string, millis: number, body: Uint8Array): Uint8Array;
}

/** A script that asks for a failure. */
export class Failed {
  constructor(readonly reason: string) {}
}

/** Does what the payload says. */
export function run(payload: Uint8Array, port: Port): void {
  for (const line of decoder.decode(payload).split("\n")) step(line, port);
}

function step(line: string, port: Port): void {
  const [command, rest] = cut(line);
  const [first, text] = cut(rest);
  switch (command) {
    case "publish":
      return port.publish(first, encoder.encode(text));
    case "reply":
      return port.reply(encoder.encode(rest));
    case "request":
      return port.publish("out.answer", answer(port, first, text));
    case "fail":
      throw new Failed(rest);
    case "trap":
      throw new Error("as asked");
    case "spin":
      for (;;);
    default:
      throw new Failed(`what is ${command}?`);
  }
}

/** The answer, or why there is none. */
function answer(port: Port, subject: string, rest: string): Uint8Array {
  const [millis, body] = cut(rest);
  try {
    return port.request(subject, Number(millis), encoder.encode(body));
  } catch (error) {
    // What an import refuses comes as an error with a payload.
    const payload = (error as { payload?: unknown }).payload;
    if (payload === undefined) throw error;
    return encoder.encode(`error: ${JSON.stringify(payload)}`);
  }
}

function cut(text: string): [string, string] {
  const at = text.indexOf(" ");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

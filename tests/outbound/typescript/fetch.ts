// Asks the server whose URL is the payload, and publishes what it says.

type Event = { payload: Uint8Array };
type Output = { subject: string; headers: []; payload: Uint8Array };

declare class TextDecoder {
  decode(bytes: Uint8Array): string;
}
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare function fetch(
  url: string,
  options: { method: string; headers: Record<string, string>; body: string },
): Promise<{ status: number; text(): Promise<string> }>;

export const handler = {
  async handle(event: Event): Promise<Output[]> {
    const url = new TextDecoder().decode(event.payload);
    let answer: string;
    try {
      const headers = { "x-language": "typescript" };
      const response = await fetch(url, { method: "POST", headers, body: "from typescript" });
      answer = `${response.status} ${await response.text()}`;
    } catch (error) {
      throw { tag: "reject", val: `refused: ${error}` };
    }
    return [{ subject: "out.x", headers: [], payload: new TextEncoder().encode(answer) }];
  },
};

// wasi:messaging@0.2.0-draft as TypeScript sees it, by `jco guest-types`.

declare module "wasi:messaging/types@0.2.0-draft" {
  export type Metadata = Array<[string, string]>;
  export type Topic = string;
  export type Error =
    | { tag: "timeout" }
    | { tag: "connection"; val: string }
    | { tag: "permission-denied"; val: string }
    | { tag: "other"; val: string };

  export class Client {
    private constructor();
    static connect(name: string): Client;
    disconnect(): void;
  }

  export class Message {
    constructor(data: Uint8Array);
    /** On which it was received, if it was. */
    topic(): Topic | undefined;
    contentType(): string | undefined;
    setContentType(contentType: string): void;
    data(): Uint8Array;
    setData(data: Uint8Array): void;
    metadata(): Metadata | undefined;
    /** In the place of any value that the key has. */
    addMetadata(key: string, value: string): void;
    setMetadata(meta: Metadata): void;
    removeMetadata(key: string): void;
  }
}

declare module "wasi:messaging/incoming-handler@0.2.0-draft" {
  export function handle(message: Message): void;
  export type Message = import("wasi:messaging/types@0.2.0-draft").Message;
}

declare module "wasi:messaging/producer@0.2.0-draft" {
  export function send(c: Client, topic: string, message: Message): void;
  export type Client = import("wasi:messaging/types@0.2.0-draft").Client;
  export type Message = import("wasi:messaging/types@0.2.0-draft").Message;
}

declare module "wasi:messaging/request-reply@0.2.0-draft" {
  /**
   * Sends a message and waits for one answer, or as many as the options say.
   * When the time is up it returns those that have come, if any.
   */
  export function request(
    c: Client,
    topic: string,
    message: Message,
    options: RequestOptions | undefined,
  ): Array<Message>;
  /** Answers a message, as often as one likes; nothing, if its sender waits for none. */
  export function reply(replyTo: Message, message: Message): void;
  export type Client = import("wasi:messaging/types@0.2.0-draft").Client;
  export type Message = import("wasi:messaging/types@0.2.0-draft").Message;

  export class RequestOptions {
    constructor();
    setTimeoutMs(timeoutMs: number): void;
    setExpectedReplies(expectedReplies: number): void;
  }
}

// wasmcloud:messaging@0.2.0 as TypeScript sees it, by `jco guest-types`.

declare module "wasmcloud:messaging/types@0.2.0" {
  /** A message from a broker, or for one. */
  export interface BrokerMessage {
    subject: string;
    body: Uint8Array;
    replyTo?: string;
  }
}

declare module "wasmcloud:messaging/handler@0.2.0" {
  export function handleMessage(msg: BrokerMessage): void;
  export type BrokerMessage = import("wasmcloud:messaging/types@0.2.0").BrokerMessage;
}

declare module "wasmcloud:messaging/consumer@0.2.0" {
  /** Sends a message and waits for the answer. */
  export function request(subject: string, body: Uint8Array, timeoutMs: number): BrokerMessage;
  /** Sends a message and waits for nothing. */
  export function publish(msg: BrokerMessage): void;
  export type BrokerMessage = import("wasmcloud:messaging/types@0.2.0").BrokerMessage;
}

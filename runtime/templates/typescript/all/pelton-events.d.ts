// The contract between Pelton and a handler, as TypeScript sees it: the package
// pelton:events@0.1.0 of wit/events.wit, whose words these are.

/** Values that pass between the host and a handler. */
declare module "pelton:events/types@0.1.0" {
  /** One header. A name may occur more than once. */
  export interface Header {
    /**
     * The name, in the spelling of the sender. In an output: 1 to 128
     * characters out of letters, digits and `-_.!#$%&'*+^|~`.
     */
    name: string;
    /** The value. In an output: at most 4,096 bytes, without control characters. */
    value: string;
  }

  /** Where a stream stores the event. */
  export interface Position {
    /** The stream's name. */
    stream: string;
    /** The sequence in that stream, counted from 1. */
    sequence: bigint;
  }

  /** An event as delivered. */
  export interface Event {
    /**
     * The same at every delivery of this event, and different for every other
     * event: use it as an idempotency key for side effects.
     */
    id: string;
    /** The subject it was published to. */
    subject: string;
    /**
     * Its headers. Those that begin with `Nats-` or `Pelton-` are for reading:
     * copies of them in an output are left out, new ones are refused.
     */
    headers: Array<Header>;
    /** The bytes as published; the host does not look inside. */
    payload: Uint8Array;
    /**
     * Where the sender waits for a reply, for a request over core NATS. To
     * reply, return an output with this subject.
     */
    replyTo?: string;
    /**
     * When it was published (stream) or received (core NATS), in milliseconds
     * since 1970-01-01T00:00:00Z.
     */
    time: bigint;
    /** 1 at the first delivery, then one more at each. */
    attempt: number;
    /** Where the event is stored; none for core NATS. */
    position?: Position;
  }

  /** What a handler wants published. */
  export interface Output {
    /**
     * The subject: no wildcards, and within what the manifest lets this plugin
     * publish; or the event's `replyTo`.
     */
    subject: string;
    headers: Array<Header>;
    payload: Uint8Array;
  }

  /**
   * Why an event was not handled, named for what the host will do with it: what
   * a handler throws.
   */
  export type Failure = FailureRetry | FailureRetryAfter | FailureReject;

  /**
   * May succeed later: deliver again after the plugin's backoff, until its
   * attempts are used up; then to the dead letters.
   */
  export interface FailureRetry {
    tag: "retry";
    val: string;
  }

  /**
   * The same, but not before this many milliseconds (capped by the plugin's
   * longest backoff).
   */
  export interface FailureRetryAfter {
    tag: "retry-after";
    val: [bigint, string];
  }

  /** Will never succeed: to the dead letters at once. */
  export interface FailureReject {
    tag: "reject";
    val: string;
  }
}

/** What a plugin exports, as `export const handler`. */
declare module "pelton:events/handler@0.1.0" {
  import type { Event, Output } from "pelton:events/types@0.1.0";

  /** Handles one event, `async` or not; throws a `Failure` if it cannot. */
  export function handle(event: Event): Array<Output> | Promise<Array<Output>>;
}

/** The host's log. Lines carry the plugin's name and the event's id. */
declare module "pelton:events/log@0.1.0" {
  /** How much a line matters, as in the host's own log. */
  export type Level = "trace" | "debug" | "info" | "warn" | "error";

  /** Writes one line; what goes beyond the plugin's limits is dropped and counted. */
  export function write(level: Level, message: string): void;
}

/** The values of `[plugins.<name>.config]` in the manifest. */
declare module "pelton:events/config@0.1.0" {
  /** The value of `key`, or nothing if the manifest does not set it. */
  export function get(key: string): string | undefined;
}

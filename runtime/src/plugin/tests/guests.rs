//! Core modules in text that speak the contract's binary interface by hand, so
//! that tests need no compiler for Wasm.
//!
//! An event lies in memory with its subject at byte 8, its headers at 16, its
//! payload at 24 (address and length each). The answer is written to address 0:
//! which case at 0, what it carries from 8 on; one output lies at 64.

/// A module with these imports, definitions and this body of `handle`, whose
/// parameter `$event` is the event's address.
pub(super) fn module(imports: &str, definitions: &str, body: &str) -> String {
    format!(
        r#"(module
        {imports}
        (memory (export "memory") 2)
        (global $next (mut i32) (i32.const 8192))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (block $fits
                (br_if $fits (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
                (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
                    (i32.shr_u (local.get 3) (i32.const 16))))))
                unreachable)
            (local.get $at))
        {definitions}
        (func $handle (export "pelton:events/handler@0.1.0#handle") (param $event i32) (result i32)
            {body}
            (i32.const 0))
        (func (export "cabi_post_pelton:events/handler@0.1.0#handle") (param i32)
            (global.set $next (i32.const 8192)))
    )"#
    )
}

/// Instructions that answer with one output: subject and headers of the event, and
/// the payload at this address with this length.
fn answer(address: &str, length: &str) -> String {
    format!(
        "(i32.store8 (i32.const 0) (i32.const 0))
        (i32.store (i32.const 8) (i32.const 64))
        (i32.store (i32.const 12) (i32.const 1))
        (i64.store (i32.const 64) (i64.load (i32.add (local.get $event) (i32.const 8))))
        (i64.store (i32.const 72) (i64.load (i32.add (local.get $event) (i32.const 16))))
        (i32.store (i32.const 80) {address})
        (i32.store (i32.const 84) {length})"
    )
}

/// Answers with the event.
pub(super) fn echo() -> String {
    let payload = |at| format!("(i32.load (i32.add (local.get $event) (i32.const {at})))");
    module("", "", &answer(&payload(24), &payload(28)))
}

/// Answers with a digit: how many events this instance has seen. Traps when the
/// payload begins with `t`, rejects when it begins with `r`.
pub(super) fn counter() -> String {
    let body = format!(
        "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
        (if (i32.eq (call $first (local.get $event)) (i32.const 116)) (then unreachable))
        (if (i32.eq (call $first (local.get $event)) (i32.const 114)) (then {} (return (i32.const 0))))
        (i32.store8 (i32.const 128) (i32.add (global.get $seen) (i32.const 48)))
        {}",
        refuse(2),
        answer("(i32.const 128)", "(i32.const 1)")
    );
    let first = "(func $first (param i32) (result i32) (i32.load8_u (i32.load (i32.add (local.get 0) (i32.const 24)))))";
    module("", &format!("(global $seen (mut i32) (i32.const 0)) {first}"), &body)
}

/// Fails with case number `case` of `failure` and the word `sorry`, escape
/// sequence included; after 1,500 ms for the one that carries a time.
pub(super) fn failing(case: u32) -> String {
    module("", "", &refuse(case))
}

fn refuse(case: u32) -> String {
    let text = if case == 1 { 24 } else { 16 };
    format!(
        r"(i64.store (i32.const 16) (i64.const 1500))
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store8 (i32.const 8) (i32.const {case}))
        (i64.store (i32.const 256) (i64.const 0x1b7972726f73))
        (i32.store (i32.const {text}) (i32.const 256))
        (i32.store (i32.const {}) (i32.const 6))",
        text + 4
    )
}

/// As much code as an interpreter has, with a program of eight letters in a memory of
/// this many pages. It looks at its program when it starts, and answers with it.
pub(super) fn interpreter(program: &str, pages: u32) -> String {
    let bulk = "nop ".repeat(100_000);
    let bulk: String = (0..64).map(|_| format!("(func {bulk})")).collect();
    let definitions = format!(
        r#"(data (i32.const 2000) "{program}")
        (func $look (i64.store (i32.const 2008) (i64.load (i32.const 2000))))
        (start $look)
        {bulk}"#
    );
    module("", &definitions, &answer("(i32.const 2008)", "(i32.const 8)")).replacen(
        "(memory (export \"memory\") 2)",
        &format!("(memory (export \"memory\") {pages})"),
        1,
    )
}

/// Never ends.
pub(super) fn spinning() -> String {
    module("", "", "(loop $again (br $again))")
}

/// Takes memory until it gets no more, then traps.
pub(super) fn greedy() -> String {
    module(
        "",
        "",
        "(loop $again (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 4))))) unreachable",
    )
}

/// The same with a table.
pub(super) fn greedy_table() -> String {
    let table = "(table $many 1 funcref)";
    let body = "(loop $again (br_if $again (i32.ne (i32.const -1)
        (table.grow $many (ref.null func) (i32.const 1000))))) unreachable";
    module("", table, body)
}

/// Calls itself until the stack is full.
pub(super) fn recursive() -> String {
    module(
        "",
        "(func $deeper (param i32) (call $deeper (local.get 0)) (call $deeper (local.get 0)))",
        "(call $deeper (i32.const 0))",
    )
}

/// Traps two calls deep.
pub(super) fn trapping() -> String {
    module("", "(func $inner unreachable) (func $outer (call $inner))", "(call $outer)")
}

/// Answers with this many empty outputs.
pub(super) fn many_outputs(number: u32) -> String {
    let pages = number * 24 / 65536 + 1;
    let body = format!(
        "(drop (memory.grow (i32.const {pages})))
        (i32.store (i32.const 8) (i32.const 131072))
        (i32.store (i32.const 12) (i32.const {number}))"
    );
    module("", "", &body)
}

/// Answers with one output of this many bytes.
pub(super) fn large_output(bytes: u32) -> String {
    let pages = bytes / 65536 + 1;
    let body = answer("(i32.const 131072)", &format!("(i32.const {bytes})"));
    module("", "", &format!("(drop (memory.grow (i32.const {pages}))) {body}"))
}

/// Answers with a subject that is not UTF-8.
pub(super) fn not_utf8() -> String {
    let body = format!(
        "{} (i32.store (i32.const 64) (i32.const 128)) (i32.store (i32.const 68) (i32.const 1))
        (i32.store8 (i32.const 128) (i32.const 255))",
        answer("(i32.const 0)", "(i32.const 0)")
    );
    module("", "", &body)
}

/// Writes a line of 5 bytes, control character included, this many times.
pub(super) fn logging(times: u32) -> String {
    let body = "(i64.store (i32.const 256) (i64.const 0x6f6c1b6568))
        (loop $again
            (call $log (i32.const 2) (i32.const 256) (i32.const 5))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left)))";
    let import = r#"(import "pelton:events/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
    module(import, "", &format!("(local $left i32) (local.set $left (i32.const {times})) {body}"))
}

/// Answers with the value of the key that the payload names; traps if there is none.
pub(super) fn configured() -> String {
    let import = r#"(import "pelton:events/config@0.1.0" "get" (func $get (param i32 i32 i32)))"#;
    let body = format!(
        "(call $get (i32.load (i32.add (local.get $event) (i32.const 24)))
            (i32.load (i32.add (local.get $event) (i32.const 28))) (i32.const 512))
        (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable))
        {}",
        answer("(i32.load (i32.const 516))", "(i32.load (i32.const 520))")
    );
    module(import, "", &body)
}

/// Prints `out\n` to stdout and the payload, without a line's end, to stderr, then
/// goes on with `rest`.
pub(super) fn printing(rest: &str) -> String {
    let imports = r#"
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))"#;
    let body = format!(
        "(i32.store (i32.const 256) (i32.const 0x0a74756f))
        (i32.store (i32.const 264) (i32.const 256)) (i32.store (i32.const 268) (i32.const 4))
        (drop (call $write (i32.const 1) (i32.const 264) (i32.const 1) (i32.const 272)))
        (i64.store (i32.const 264) (i64.load (i32.add (local.get $event) (i32.const 24))))
        (drop (call $write (i32.const 2) (i32.const 264) (i32.const 1) (i32.const 272)))
        {rest}"
    );
    module(imports, "", &body)
}

/// Sleeps for a minute in the host.
pub(super) fn sleeping() -> String {
    printing(
        "(i64.store (i32.const 512) (i64.const 0)) (i64.store (i32.const 520) (i64.const 0))
        (i32.store (i32.const 528) (i32.const 1)) (i64.store (i32.const 536) (i64.const 60000000000))
        (drop (call $poll (i32.const 512) (i32.const 640) (i32.const 1) (i32.const 768)))",
    )
}

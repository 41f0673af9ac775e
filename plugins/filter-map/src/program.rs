//! The jq program that the configured expressions make together, compiled.
//!
//! Free of bindings. One program, because the standard library of jq would
//! otherwise be compiled once for each expression. Each expression is parsed by
//! itself first: a mistake is reported for the key it stands under, and no
//! unbalanced parenthesis can reach into its neighbour.

use jaq_core::{
    Compiler, Ctx, Vars, compile, data,
    load::{Arena, File, Loader, lex::Lexer, parse::Parser},
};
use jaq_json::Val;

#[cfg(test)]
mod tests;

type Data = data::JustLut<Val>;

/// What the three keys say.
pub struct Expressions {
    pub filter: Option<String>,
    pub map: Option<String>,
    /// The inside of a jq string: text with expressions in `\(…)`.
    pub subject: String,
}

/// A compiled program. For each result of `map` it gives the array of that
/// result and its subject; nothing if `filter` does not hold.
pub struct Program {
    filter: jaq_core::Filter<Data>,
}

impl Program {
    pub fn compile(expressions: &Expressions) -> Result<Program, String> {
        let subject = format!("\"{}\"", expressions.subject);
        let filter = expressions.filter.as_deref().unwrap_or("true");
        let map = expressions.map.as_deref().unwrap_or(".");
        for (key, code) in [("filter", filter), ("map", map), ("subject", &subject)] {
            parse(code).map_err(|error| format!("`{key}`: {error}"))?;
        }
        let [filter, map, subject] = [("filter", filter), ("map", map), ("subject", &subject)]
            .map(|(key, code)| guarded(key, code));
        let code =
            format!(". as $input | if any({filter}; .) then {map} | [., {subject}] else empty end");
        Ok(Program { filter: compile(&code)? })
    }

    /// The results, up to the first error.
    pub fn run(&self, input: Val, event: Val) -> Result<Vec<Val>, String> {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([event]));
        let results = self.filter.id.run((context, input));
        results.map(|result| result.map_err(|exception| explain(exception))).collect()
    }
}

/// The expression, with the key in the text of errors that happen in it. A line
/// of its own, so that a comment at its end ends there.
fn guarded(key: &str, code: &str) -> String {
    format!("(try ({code}\n) catch error(\"`{key}`: \\(.)\"))")
}

fn parse(code: &str) -> Result<(), String> {
    let tokens = Lexer::new(code).lex().map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(String::new, |(expected, at)| {
            format!("expected {} at `{}`", expected.as_str(), start(at))
        })
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map(|_| ()).map_err(|errors| {
        let first = errors.into_iter().next();
        first.map_or_else(String::new, |(expected, at)| {
            let at = at.map_or("", |token| token.0);
            let place =
                if at.is_empty() { "the end".to_owned() } else { format!("`{}`", start(at)) };
            format!("expected {} at {place}", expected.as_str())
        })
    })
}

fn compile(code: &str) -> Result<jaq_core::Filter<Data>, String> {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code, path: () });
    let modules = modules.map_err(|_| "the expressions make no program together".to_owned())?;
    let compiler = Compiler::default().with_funs(functions).with_global_vars(["$event"]);
    compiler.compile(modules).map_err(|errors| {
        let undefined = errors.iter().flat_map(|(_, errors)| errors);
        undefined.map(describe).collect::<Vec<_>>().join(", ")
    })
}

fn describe((name, kind): &(&str, compile::Undefined)) -> String {
    match kind {
        compile::Undefined::Filter(arity) => {
            format!("there is no function `{name}` with {arity} arguments")
        }
        other => format!("there is no {} `{name}`", other.as_str()),
    }
}

fn explain(exception: jaq_core::Exn<Val>) -> String {
    match exception.get_err() {
        Ok(error) => match error.into_val() {
            Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
            other => other.to_string(),
        },
        Err(_) => "`halt` and `break` without a label have no place in a handler".to_owned(),
    }
}

/// The first characters, for a message.
fn start(text: &str) -> String {
    text.chars().take(30).collect()
}

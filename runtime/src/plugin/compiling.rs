//! The news that a component is being compiled: with a large one it takes minutes in
//! which nothing else happens. Nothing is compiled here.

use std::{fmt, path::Path, sync::Arc};

use bytesize::ByteSize;

/// A component whose compilation has begun.
#[derive(Debug, Clone, Copy)]
pub struct Compilation<'a> {
    /// Its file.
    pub component: &'a Path,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Whether the result is kept: then it is the only time.
    pub is_kept: bool,
}

/// Who is told when a compilation has begun, on the thread that compiles. What comes
/// from the cache is not compiled. By default it is told to the log.
#[derive(Clone)]
pub struct CompilationListener(Arc<dyn Fn(&Compilation<'_>) + Send + Sync>);

impl CompilationListener {
    /// A listener that does this with what it is told.
    pub fn new(tell: impl Fn(&Compilation<'_>) + Send + Sync + 'static) -> CompilationListener {
        CompilationListener(Arc::new(tell))
    }

    pub(super) fn tell(&self, compilation: &Compilation<'_>) {
        (self.0)(compilation);
    }
}

impl Default for CompilationListener {
    fn default() -> CompilationListener {
        CompilationListener::new(|compilation| tracing::info!("{compilation}"))
    }
}

impl fmt::Debug for CompilationListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompilationListener")
    }
}

impl fmt::Display for Compilation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = match self.is_kept {
            true => "once: it is kept in the cache",
            false => "at every start: there is no cache that works",
        };
        write!(f, "compiling {} ({}), {often}", self.component.display(), ByteSize(self.size))
    }
}

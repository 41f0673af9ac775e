//! A few values of a manifest that may be wrong everywhere else: for those who
//! have to find a running host, or to wait until a manifest is mended.
//!
//! Not a manifest: nothing is checked that is not asked for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Problems, load, raw,
    reader::{self, Report},
    source::Source,
};

/// What could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// The manifest's file.
    pub file: PathBuf,
    /// `[admin] listen`
    pub admin: Option<SocketAddr>,
    /// The component files of all plugins.
    pub components: Vec<PathBuf>,
    /// The files that plugins have secrets in.
    pub secrets: Vec<PathBuf>,
}

impl Glimpse {
    /// Looks into the manifest at `path`, or `pelton.toml` in it if it is a folder.
    ///
    /// # Errors
    /// If the file cannot be read or is not TOML.
    pub fn of(path: &Path) -> Result<Glimpse, Problems> {
        let file = load::file(path);
        let name = file.display().to_string();
        let bytes = load::read(&file).map_err(|problem| load::alone(&name, problem))?;
        let text = load::decode(&bytes, &name)?;
        let mut source = Source::new(&name, text);
        let document = reader::parse(text, &mut source);
        let document = document.map_err(|problem| Problems::of(&source, vec![problem]))?;
        // Whoever loads the manifest is told what is wrong with it.
        let document = raw::Document::read(&document, &mut Report::default());
        let base = file.parent().map(Path::to_owned).unwrap_or_default();
        let plugins: Vec<_> = document.plugins.unwrap_or_default().into_values().collect();
        let secrets = plugins.iter().flat_map(raw::Plugin::secret_files).map(|it| base.join(&it.0));
        let secrets = secrets.collect();
        let components =
            plugins.into_iter().filter_map(|plugin| Some(base.join(plugin.component?.0)));
        Ok(Glimpse {
            secrets,
            admin: document.admin.and_then(|admin| admin.listen),
            components: components.collect(),
            file,
        })
    }
}

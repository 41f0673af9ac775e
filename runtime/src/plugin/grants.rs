//! What one plugin was granted, ready for its instances: shared by all of them.

use std::{io, path::PathBuf, sync::Arc};

use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, filesystem::WasiFilesystemCtx};

use super::{
    outbound::{Outbound, Outside},
    redact::Redaction,
};
use crate::manifest;

/// The grants of one plugin.
pub(super) struct Grants {
    env: Vec<(String, String)>,
    /// Opened once: an instance costs no system call for it, and none that could
    /// fail or block.
    folders: Option<WasiFilesystemCtx>,
    pub(super) redaction: Redaction,
    pub(super) outbound: Arc<Outbound>,
}

impl Grants {
    /// Opens the folders; the error is the first that cannot be opened. Blocks.
    pub(super) fn new(
        plugin: Arc<str>,
        grants: &manifest::Grants,
        uses_http: bool,
    ) -> Result<Grants, (PathBuf, io::Error)> {
        let http = grants.http.as_ref().filter(|_| uses_http);
        let redaction = Redaction::new(grants.secrets());
        Ok(Grants {
            env: variables(grants),
            folders: folders(&grants.dirs)?,
            outbound: Arc::new(Outbound::new(plugin, http, &redaction)),
            redaction,
        })
    }

    /// The same for a host of its own, whose requests count in `outside`.
    pub(super) fn apart(self: &Arc<Grants>, outside: &Outside) -> Arc<Grants> {
        if !self.outbound.is_granted() {
            return Arc::clone(self);
        }
        Arc::new(Grants {
            env: self.env.clone(),
            folders: self.folders.clone(),
            redaction: self.redaction.clone(),
            outbound: Arc::new(self.outbound.apart(outside.clone())),
        })
    }

    /// The same with the variables of `grants`; what else it says is not looked at.
    pub(super) fn with_variables(self: &Arc<Grants>, grants: &manifest::Grants) -> Arc<Grants> {
        let env = variables(grants);
        if env == self.env {
            return Arc::clone(self);
        }
        Arc::new(Grants {
            env,
            folders: self.folders.clone(),
            redaction: Redaction::new(grants.secrets()),
            outbound: Arc::clone(&self.outbound),
        })
    }

    /// A context with what was granted, and what `builder` has.
    pub(super) fn give(&self, builder: &mut WasiCtxBuilder) -> WasiCtx {
        let mut ctx = builder.envs(&self.env).build();
        if let Some(folders) = &self.folders {
            *ctx.filesystem() = folders.clone();
        }
        ctx
    }
}

fn variables(grants: &manifest::Grants) -> Vec<(String, String)> {
    let plain =
        |(name, value): (&String, &manifest::Variable)| (name.clone(), value.expose().to_owned());
    grants.env.iter().map(plain).collect()
}

fn folders(
    granted: &[manifest::Folder],
) -> Result<Option<WasiFilesystemCtx>, (PathBuf, io::Error)> {
    let mut builder = WasiCtx::builder();
    for folder in granted {
        let perms = if folder.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        let opened = builder.preopened_dir(&folder.host, &folder.guest, perms);
        opened.map_err(|error| {
            let error = error.downcast::<io::Error>().unwrap_or_else(io::Error::other);
            (folder.host.clone(), error)
        })?;
    }
    Ok((!granted.is_empty()).then(|| builder.build().filesystem().clone()))
}

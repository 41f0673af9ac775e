//! Both sources of a plugin: what it subscribes to, and the dead letters that
//! it is asked to run again.

use super::{Provision, plan};
use crate::{
    broker::{
        Broker as _, SetupError,
        nats::{Broker, Source},
    },
    dispatch::Sources,
    manifest::{Manifest, Plugin},
};

/// Binds the plugin `name` to its sources.
///
/// # Errors
/// If a consumer is otherwise than it should be.
pub(super) async fn sources(
    manifest: &Manifest,
    broker: &Broker,
    provision: &Provision,
    (name, spec): (&str, &Plugin),
) -> Result<Sources<Source>, SetupError> {
    let live = broker.subscribe(plan::subscription(manifest, name, spec)).await?;
    let wanted = plan::replays(manifest, name, spec).filter(|_| provision.jetstream());
    let replays = match wanted {
        Some(wanted) => Some(broker.subscribe(wanted).await?),
        None => None,
    };
    Ok(Sources { live, replays })
}

//! `pelton reload`: asks a running host to take its manifest anew.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use pelton::{
    admin::{GUARD, Outcome, ReloadAnswer},
    manifest::Glimpse,
};
use ureq::Agent;

use super::{Exit, check, report};

/// Ask a running host to take its manifest anew
///
/// The host reads the manifest that it was started with. It checks, compiles and starts everything
/// new first; then it swaps the plugins that changed, without losing or repeating an event, and
/// leaves the others alone. If something is wrong it says what, and goes on as before.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it runs as the manifest says, 2 the manifest was refused and \
    nothing changed, 1 the host was not reached or some plugins are not as they should be.\n\n\
    The same without the admin server: kill -HUP PID; the host's log has the outcome.\n\n\
    Examples:\n  \
    pelton reload\n  \
    pelton reload deploy/orders.toml\n  \
    pelton reload --admin 127.0.0.1:9464"
)]
pub struct Arguments {
    /// The host's manifest, or the folder it is in: [admin] listen says where the host is reached
    #[arg(default_value = "pelton.toml")]
    manifest: PathBuf,
    /// Where the host's admin server listens, instead of at [admin] listen
    #[arg(long, value_name = "ADDRESS", env = "PELTON_ADMIN")]
    admin: Option<SocketAddr>,
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest drain is an hour, and the host gives up some seconds after it.
const ANSWER_LIMIT: Duration = Duration::from_secs(3_600 + 300);

/// Asks and says what came of it.
pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let address = match arguments.admin {
        Some(address) => address,
        None => match Glimpse::of(&arguments.manifest) {
            Ok(glimpse) => glimpse.admin.ok_or_else(|| no_address(&arguments))?,
            Err(problems) => {
                report::note(&problems.render(check::look()));
                return Ok(Exit::Usage);
            }
        },
    };
    say(&ask(address)?)
}

fn no_address(arguments: &Arguments) -> anyhow::Error {
    anyhow!(
        "`{}` has no `[admin] listen`, so the host is not known to be reachable: add it and restart the host, name the address with --admin if the host was started with one, or send the host SIGHUP (kill -HUP PID)",
        arguments.manifest.display()
    )
}

fn ask(address: SocketAddr) -> anyhow::Result<ReloadAnswer> {
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_global(Some(ANSWER_LIMIT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let url = format!("http://{}/reload", reachable(address));
    let answered = agent.post(&url).header(GUARD, "yes").send_empty();
    let mut response = answered.with_context(|| {
        format!(
            "no host answers at {address}: start it with `--admin {address}` or `[admin] listen`, or send it SIGHUP (kill -HUP PID)"
        )
    })?;
    let text = response.body_mut().read_to_string();
    let text = text.with_context(|| format!("the host at {address} ended its answer early"))?;
    serde_json::from_str(&text).map_err(|_| {
        let status = response.status();
        anyhow!(
            "what answers at {address} is not a host that can reload ({status}): is it another program, or an older version?"
        )
    })
}

/// A server that listens everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn say(answer: &ReloadAnswer) -> anyhow::Result<Exit> {
    match answer.outcome {
        Outcome::Reloaded => {
            report::text(&lists(answer))?;
            Ok(Exit::Ok)
        }
        Outcome::Unfinished => {
            report::text(&lists(answer))?;
            for (plugin, problem) in &answer.unfinished {
                report::error(&anyhow!("plugin {plugin}: {problem}"));
            }
            Ok(Exit::Failed)
        }
        Outcome::Refused => {
            report::note(&answer.problems);
            report::error(&anyhow!("not reloaded: the host runs as before"));
            Ok(Exit::Usage)
        }
        Outcome::Unavailable => Err(anyhow!("not reloaded: {}", answer.problems)),
    }
}

fn lists(answer: &ReloadAnswer) -> String {
    let lists = [
        ("swapped", &answer.swapped),
        ("added", &answer.added),
        ("removed", &answer.removed),
        ("untouched", &answer.untouched),
    ];
    let lists = lists.into_iter().filter(|(_, plugins)| !plugins.is_empty());
    let lists: Vec<_> =
        lists.map(|(what, plugins)| format!("{what} {}", plugins.join(", "))).collect();
    format!("reloaded: {}\n", lists.join("; "))
}

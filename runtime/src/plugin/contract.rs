//! Which contract a component speaks: the one place that decides it, by the
//! names of what it exports.

/// A contract between a component and its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contract {
    /// Ours: it returns what is to be published.
    Events,
    /// That of wasmCloud: it publishes while it runs.
    Wasmcloud,
    /// That of WASI, as far as there is one: it publishes while it runs.
    WasiMessaging,
}

impl Contract {
    /// All that are served. A component that speaks several is taken to speak
    /// the first.
    const ALL: [Contract; 3] = [Contract::Events, Contract::Wasmcloud, Contract::WasiMessaging];

    /// What a component exports that speaks it.
    pub(super) const fn handler(self) -> &'static str {
        match self {
            Contract::Events => "pelton:events/handler@0.1.0",
            Contract::Wasmcloud => "wasmcloud:messaging/handler@0.2.0",
            Contract::WasiMessaging => "wasi:messaging/incoming-handler@0.2.0-draft",
        }
    }

    /// Its package and version.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Contract::Events => "pelton:events@0.1.0",
            Contract::Wasmcloud => "wasmcloud:messaging@0.2.0",
            Contract::WasiMessaging => "wasi:messaging@0.2.0-draft",
        }
    }

    /// Its package, without the version.
    const fn package(self) -> &'static str {
        match self {
            Contract::Events => "pelton:events/",
            Contract::Wasmcloud => "wasmcloud:messaging/",
            Contract::WasiMessaging => "wasi:messaging/",
        }
    }

    /// What to do with a component of another version of it.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Contract::Events => {
                "build it with the WIT of that version, which `pelton new` writes, or use a Pelton that speaks its own"
            }
            Contract::Wasmcloud | Contract::WasiMessaging => {
                "build it with the WIT of that version, which it shares with other hosts"
            }
        }
    }

    /// All that a component with these exports speaks: the first counts.
    pub(super) fn spoken(exports: &[String]) -> impl Iterator<Item = Contract> {
        let speaks = |it: &Contract| exports.iter().any(|name| name == it.handler());
        Contract::ALL.into_iter().filter(speaks)
    }

    /// The export that belongs to another version of a contract that is served,
    /// and that contract.
    pub(super) fn other_version(exports: &[String]) -> Option<(Contract, &str)> {
        let of = |it: Contract| exports.iter().find(|name| name.starts_with(it.package()));
        Contract::ALL.into_iter().find_map(|it| Some((it, of(it)?.as_str())))
    }

    /// All handlers that are served, for people.
    pub(super) fn handlers() -> String {
        Contract::ALL.map(Contract::handler).join(", ")
    }
}

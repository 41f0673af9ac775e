//! Credentials that are changed while a host runs.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::harness::{Project, Server, eventually, plugin_table};

/// Who may speak for whom.
struct Operator {
    key: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

/// A token of the server, as `nsc` makes them.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let claims = json!({
        "jti": subject.public_key(), "iat": 1, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let [header, claims] = [header, claims].map(|part| encoded(part.to_string().as_bytes()));
    let text = format!("{header}.{claims}");
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", encoded(&signature))
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Operator {
    fn new() -> Operator {
        let (key, account) = (KeyPair::new_operator(), KeyPair::new_account());
        Operator { key, account, system: KeyPair::new_account() }
    }

    /// A server's configuration, which turns these users away.
    fn config(&self, revoked: &[&KeyPair]) -> String {
        let account = |key: &KeyPair, more: &Value| {
            let mut limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1,
            });
            limits.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let revoked = revoked.iter().map(|user| (user.public_key(), json!(4_000_000_000_u64)));
            let revocations = Value::Object(revoked.collect());
            let nats = json!({
                "type": "account", "version": 2, "limits": limits, "revocations": revocations,
            });
            format!("{}: {}", key.public_key(), token(&self.key, key, &nats))
        };
        let operator = token(&self.key, &self.key, &json!({ "type": "operator", "version": 2 }));
        let storing =
            json!({ "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1 });
        format!(
            "jetstream {{}}\noperator: {operator}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{\n{}\n{}\n}}\n",
            self.system.public_key(),
            account(&self.system, &json!({})),
            account(&self.account, &storing),
        )
    }

    /// The content of a user's file.
    fn credentials(&self, user: &KeyPair) -> String {
        let nats = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        let token = token(&self.account, user, &nats);
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        )
    }
}

/// Whoever rotates the file need not restart the host.
#[tokio::test]
async fn a_new_connection_is_made_with_what_the_file_of_credentials_has_then() {
    let (operator, old, new) = (Operator::new(), KeyPair::new_user(), KeyPair::new_user());
    let mut server = Server::with_config(&operator.config(&[])).await;
    let project = Project::new(&format!(
        "[nats]\ncredentials = \"host.creds\"\n[streams.IN]\nsubjects = [\"in.>\"]\n\
         [streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        plugin_table("line", "echo", "in.>", "")
    ));
    let file = project.path().join("host.creds");
    std::fs::write(&file, operator.credentials(&old)).unwrap();
    let daemon = project.run(&server).await;

    server.restart_with(&operator.config(&[&old])).await;
    eventually("the old user is turned away", async || {
        daemon.log().to_lowercase().contains("authorization violation").then_some(())
    })
    .await;
    std::fs::write(&file, operator.credentials(&new)).unwrap();

    eventually("the new one is let in", async || {
        daemon.get("/readyz").await.filter(|(status, _)| *status == 200)
    })
    .await;
}

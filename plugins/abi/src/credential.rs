//! Credential proxies, 0.x: a plugin that decides about a request whose TLS egressd has ended, and holds
//! the secrets that such a request needs. Nothing loads one yet; the trait is here to be tried out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Fault;

/// The head of a request from a sandbox.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    /// Who asks: the sandbox, from its address, not from anything it says.
    pub sandbox: String,
    /// The host its TLS session is for.
    pub host: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Which credential of the plugin's a request is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity(pub String);

/// What becomes of a request.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub enum Decision {
    /// It goes on as it is.
    Pass,
    /// It ends here.
    Deny {
        /// What an agent can do about it.
        reason: String,
    },
    /// It goes on changed.
    Transform {
        /// Headers to set, replacing those of the same name. May hold secrets.
        set_headers: Vec<(String, String)>,
        /// Another `host:port` to go to.
        upstream: Option<String>,
    },
}

// By hand, so that no secret reaches a log.
impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("Pass"),
            Self::Deny { reason } => f.debug_struct("Deny").field("reason", reason).finish(),
            Self::Transform {
                set_headers,
                upstream,
            } => {
                let names: Vec<&str> = set_headers.iter().map(|(name, _)| name.as_str()).collect();
                f.debug_struct("Transform")
                    .field("set_headers", &names)
                    .field("upstream", upstream)
                    .finish()
            }
        }
    }
}

/// A credential proxy.
pub trait CredentialProxy: Send + Sync + 'static {
    /// Whether this request is one of the plugin's, and whose credential it would use.
    ///
    /// # Errors
    /// A [`Fault`]; the request is denied.
    fn identify(&self, head: &Head) -> Result<Option<Identity>, Fault>;
    /// What becomes of a request that was identified.
    ///
    /// # Errors
    /// A [`Fault`]; the request is denied.
    fn decide(&self, identity: &Identity, head: &Head) -> Result<Decision, Fault>;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Bearer tokens by host, in memory.
    struct InMemory {
        tokens: HashMap<String, String>,
    }

    impl CredentialProxy for InMemory {
        fn identify(&self, head: &Head) -> Result<Option<Identity>, Fault> {
            let known = self.tokens.contains_key(&head.host);
            Ok(known.then(|| Identity(head.host.clone())))
        }

        fn decide(&self, identity: &Identity, head: &Head) -> Result<Decision, Fault> {
            if head.method != "GET" {
                return Ok(Decision::Deny {
                    reason: format!("only GET is allowed on {}", head.host),
                });
            }
            let Some(token) = self.tokens.get(&identity.0) else {
                return Ok(Decision::Pass);
            };
            Ok(Decision::Transform {
                set_headers: vec![("authorization".into(), format!("Bearer {token}"))],
                upstream: None,
            })
        }
    }

    fn head(host: &str, method: &str) -> Head {
        Head {
            sandbox: "iabcdefghij0123456789".into(),
            host: host.into(),
            method: method.into(),
            target: "/".into(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn the_guest_never_holds_the_secret_and_no_log_does() {
        let tokens = HashMap::from([("api.example".to_owned(), "s3cret".to_owned())]);
        let proxy: Box<dyn CredentialProxy> = Box::new(InMemory { tokens });
        assert_eq!(proxy.identify(&head("other.example", "GET")), Ok(None));
        let asked = head("api.example", "GET");
        let identity = proxy.identify(&asked).expect("answers").expect("known");
        let decision = proxy.decide(&identity, &asked).expect("answers");
        let Decision::Transform { set_headers, .. } = &decision else {
            panic!("{decision:?}");
        };
        assert_eq!(set_headers[0].1, "Bearer s3cret");
        assert!(!format!("{decision:?}").contains("s3cret"));
        let bytes = crate::message::encode(&decision);
        assert_eq!(crate::message::decode(&bytes), Ok(decision));
    }

    #[test]
    fn a_denial_says_what_to_do() {
        let tokens = HashMap::from([("api.example".to_owned(), "s3cret".to_owned())]);
        let asked = head("api.example", "DELETE");
        let decision = InMemory { tokens }
            .decide(&Identity("api.example".into()), &asked)
            .expect("answers");
        assert!(matches!(decision, Decision::Deny { reason } if reason.contains("only GET")));
    }
}

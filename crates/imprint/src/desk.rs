//! The way to the admin API: over HTTPS to a running server, or in this process.
//!
//! Who holds the directory's lock decides. Nobody: this process takes it, opens the ledger and calls
//! the very router that a server would mount. Somebody: a server, which says where its admin
//! listener is, or another command, which is done in a moment.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use imprint_server::admin;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::directory::Directory;
use crate::open::{Opened, open};
use crate::problem::Problem;
use crate::remote::{ConnectError, Remote};
use crate::world::world;

/// A way to the admin API.
pub(crate) struct Desk {
    directory: Directory,
    way: Way,
    token: String,
}

enum Way {
    Local { router: Router, opened: Box<Opened> },
    Remote(Remote),
}

impl Desk {
    /// Finds the way. A directory that is held for longer than [`PATIENCE`] by something that has no
    /// admin listener is refused with the holder's name.
    pub(crate) async fn open(directory: &Directory) -> anyhow::Result<Self> {
        let token = directory.read_admin_token()?;
        let mut waited = Duration::ZERO;
        let mut silence = "it does not answer".to_owned();
        loop {
            if let Some(lock) = directory.try_lock("a command")? {
                let opened = Box::new(open(directory, lock)?);
                let state = admin::State {
                    registrar: Arc::clone(&opened.registrar),
                    world: world(),
                    tokens: Arc::new([opened.admin_token]),
                    id_scope: opened.id_scope.clone(),
                    hub: opened.hub(),
                    stop: None,
                };
                let way = Way::Local {
                    router: admin::router(state),
                    opened,
                };
                return Ok(Self {
                    directory: directory.clone(),
                    way,
                    token,
                });
            }
            match directory.read_run_admin().as_deref() {
                Some("off") => bail!(held(
                    directory,
                    "its admin listener is off",
                    "Set `admin` in imprint.toml and restart it, or stop it for this command.",
                )),
                Some(address) => match Remote::connect(directory, address).await {
                    Ok(remote) => {
                        return Ok(Self {
                            directory: directory.clone(),
                            way: Way::Remote(remote),
                            token,
                        });
                    }
                    // It has just stopped, or not quite started.
                    Err(ConnectError::Refused(error)) => {
                        silence = format!("it does not answer: {error}");
                    }
                    Err(ConnectError::Other(error)) => return Err(error),
                },
                // Another command, or a server that is starting.
                None => {}
            }
            if waited >= PATIENCE {
                let hint = "Wait for it, or end it; the directory has one writer, never two.";
                bail!(held(directory, &silence, hint));
            }
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }

    /// Whether this process has the directory, because no server runs on it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.way, Way::Local { .. })
    }

    /// Finds a server anew after the connection has ended. The directory is left alone: a server that
    /// comes back must find it free.
    pub(crate) async fn reconnect(&mut self) -> anyhow::Result<()> {
        let mut waited = Duration::ZERO;
        while waited < PATIENCE {
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
            let Some(address) = self.directory.read_run_admin() else {
                continue;
            };
            // A server that was killed leaves its address behind.
            if let Ok(remote) = Remote::connect(&self.directory, &address).await {
                self.way = Way::Remote(remote);
                return Ok(());
            }
        }
        bail!(no_server())
    }

    /// Asks, and answers what the API answered: the document as text, or its error as a [`Problem`].
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> anyhow::Result<String> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "admin")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body.unwrap_or_default()))?;
        let response = match &mut self.way {
            Way::Local { router, .. } => {
                use tower::ServiceExt as _;
                router.clone().oneshot(request).await?
            }
            Way::Remote(remote) => remote.send(request).await?,
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await;
        let bytes = body
            .map_err(|error| anyhow::anyhow!(error))
            .context(NO_ANSWER)?
            .to_bytes();
        let text = String::from_utf8(bytes.to_vec()).context("the answer is not text")?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str(&text) {
            Ok(view) => bail!(Problem(view)),
            Err(_) => bail!("the admin listener answered {status} without saying why"),
        }
    }

    /// Asks with GET, and reads the document.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let text = self.ask(Method::GET, path, None::<&()>).await?;
        serde_json::from_str(&text).context("the admin API's answer can't be read")
    }

    /// Writes what is still in memory, and lets go of the directory.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        if let Way::Local { opened, .. } = self.way {
            opened.registrar.housekeep(crate::world::now()).await?;
            opened.registrar.ledger().close()?;
        }
        Ok(())
    }
}

/// What only a running server can do.
pub(crate) fn no_server() -> Problem {
    Problem::new(
        "no-server",
        "No server runs on this directory, so nothing will happen that could be told.",
        "Start it with `imprint serve`, or leave out --follow.",
    )
}

fn held(directory: &Directory, why: &str, hint: &str) -> Problem {
    let message = format!(
        "{} is held by {}, and {why}.",
        directory.root().display(),
        directory.holder()
    );
    Problem::new("directory-held", message, hint)
}

/// One path segment or query value: everything but the unreserved characters of RFC 3986 as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(["%".to_owned(), hex::encode_upper([byte])]);
        }
    }
    out
}

/// A path with the parts of its query that are there.
pub(crate) fn with_query(path: &str, query: &[(&str, Option<String>)]) -> String {
    let pairs: Vec<_> = query
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))))
        .collect();
    if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    }
}

const NO_ANSWER: &str = "the answer did not arrive; see what is on record before trying again";
/// How long another command, or a server's start, may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// A page of 10,000 devices has some megabytes; 100,000 tokens have twenty.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_of_a_path() {
        assert_eq!(encoded("stm32:0123"), "stm32%3A0123");
        assert_eq!(encoded("../x?y#z/ä"), "..%2Fx%3Fy%23z%2F%C3%A4");
        let query = [("a", Some("1&2".to_owned())), ("b", None)];
        assert_eq!(with_query("/x", &query), "/x?a=1%262");
        assert_eq!(with_query("/x", &[("b", None)]), "/x");
    }
}

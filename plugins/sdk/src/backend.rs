//! The trait, and how calls by number reach it.

use warder_abi::message::{code, decode, encode};
use warder_abi::{Answer, Head, HostHandle, PluginCalls};

use crate::host::{Call, Host};
use crate::{
    Create, Description, Ended, Fault, FaultCode, LimitsInForce, Pause, Resume, Resumed, SandboxId,
    Snapshot, Usage,
};

/// A backend: it makes and ends sandboxes. Every method may be called from several threads at once, has
/// the deadline of its [`Call`], and must be harmless when called again after a restart of the host.
pub trait Backend: Send + Sync + Sized + 'static {
    /// The plugin was loaded. The last moment to open its own files and start its own threads.
    ///
    /// # Errors
    /// A [`Fault`]; the plugin is not used.
    fn new(host: Host) -> Result<Self, Fault>;

    /// What it can do.
    fn describe(&self) -> Description;

    /// Makes a sandbox. On failure nothing of it may be left: what was made is undone here.
    ///
    /// # Errors
    /// A [`Fault`]; its code reaches the client.
    fn create(&self, call: &Call<'_>, wanted: &Create) -> Result<LimitsInForce, Fault>;

    /// Ends a sandbox; success also when there is none of that name.
    ///
    /// # Errors
    /// A [`Fault`]; it will be called again.
    fn destroy(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<(), Fault>;

    /// What a sandbox uses.
    ///
    /// # Errors
    /// [`FaultCode::NotFound`] when there is none of that name.
    fn stats(&self, call: &Call<'_>, sandbox: &SandboxId) -> Result<Usage, Fault>;

    /// Once after loading: finds the sandboxes that earlier processes of this plugin made.
    ///
    /// # Errors
    /// A [`Fault`]; it is logged.
    fn adopt(&self, call: &Call<'_>) -> Result<Vec<SandboxId>, Fault>;

    /// Pauses a sandbox: with `memory` its processes are kept, without it they end; its disk is kept either way.
    /// On failure it runs, or privd has told the gateway that it is paused.
    ///
    /// # Errors
    /// [`FaultCode::Unsupported`] here; [`FaultCode::Conflict`] when it does not run.
    fn pause(&self, _call: &Call<'_>, _wanted: &Pause) -> Result<(), Fault> {
        unsupported("pausing")
    }

    /// Wakes a paused sandbox. Where its processes were to go on and are gone, it is started anew, and the answer
    /// says so. On failure it is still paused.
    ///
    /// # Errors
    /// [`FaultCode::Unsupported`] here; [`FaultCode::Conflict`] when it is not paused.
    fn resume(&self, _call: &Call<'_>, _wanted: &Resume) -> Result<Resumed, Fault> {
        unsupported("resuming")
    }

    /// Makes a template of a sandbox's disk; the sandbox goes on as it was.
    ///
    /// # Errors
    /// [`FaultCode::Unsupported`] here.
    fn snapshot(&self, _call: &Call<'_>, _wanted: &Snapshot) -> Result<(), Fault> {
        unsupported("snapshots")
    }

    /// privd says that a sandbox is gone, whoever ended it.
    fn ended(&self, _call: &Call<'_>, _ended: &Ended) {}
}

fn unsupported<T>(what: &str) -> Result<T, Fault> {
    let detail = format!("this backend has no {what}");
    Err(Fault::new(FaultCode::Unsupported, detail))
}

/// A [`Backend`] behind the plugin border.
#[derive(Debug)]
pub struct Dispatch<B> {
    backend: B,
    host: Host,
}

impl<B: Backend> Dispatch<B> {
    /// Makes the backend.
    ///
    /// # Errors
    /// What [`Backend::new`] says.
    pub fn load(host: HostHandle) -> Result<Self, Fault> {
        let host = Host::new(host);
        Ok(Self {
            backend: B::new(host.clone())?,
            host,
        })
    }

    fn answer(&self, head: Head, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let call = Call::new(&self.host, head);
        Ok(match head.code {
            code::DESCRIBE => encode(&self.backend.describe()),
            code::CREATE => encode(&self.backend.create(&call, &decode(body)?)?),
            code::DESTROY => encode(&self.backend.destroy(&call, &decode(body)?)?),
            code::STATS => encode(&self.backend.stats(&call, &decode(body)?)?),
            code::PAUSE => encode(&self.backend.pause(&call, &decode(body)?)?),
            code::RESUME => encode(&self.backend.resume(&call, &decode(body)?)?),
            code::SNAPSHOT => encode(&self.backend.snapshot(&call, &decode(body)?)?),
            code::ADOPT => encode(&self.backend.adopt(&call)?),
            code::ENDED => {
                self.backend.ended(&call, &decode(body)?);
                Vec::new()
            }
            other => {
                let detail = format!("operation {other} is not known to this plugin");
                return Err(Fault::new(FaultCode::Unsupported, detail));
            }
        })
    }
}

impl<B: Backend> PluginCalls for Dispatch<B> {
    fn call(&self, head: Head, body: &[u8]) -> Answer {
        self.answer(head, body).map_err(|fault| encode(&fault))
    }
}

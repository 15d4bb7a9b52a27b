//! Every bound of the front door in one place, so that they can be read and documented together.

use std::time::Duration;

/// Longest request head (request line and headers) in bytes; hyper answers 431 beyond it.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// Most header lines in a request.
pub(crate) const HEADERS: usize = 128;
/// How long a head may take, from its first byte (or from the start of the connection) to its end.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may be idle between requests: longer than the SDKs (300 s) and load balancers in front
/// (600 s, say) keep theirs, so that they close first and no request meets a closing connection. A client that is
/// sent something and takes nothing of it for so long is cut off too.
pub(crate) const IDLE_CLIENT: Duration = Duration::from_secs(620);
/// After so long without a byte the kernel asks whether the client is still there, and after three questions
/// without an answer, as far apart as [`KEEPALIVE_PAUSE`], it is not.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(60);
/// See [`KEEPALIVE`].
pub(crate) const KEEPALIVE_PAUSE: Duration = Duration::from_secs(20);
/// Longest body of an API request in bytes.
pub(crate) const BODY_BYTES: usize = 1024 * 1024;
/// How long the body of an API request may take.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that nobody wants is read in bytes, so that its sender hears the answer.
pub(crate) const REST_BYTES: usize = 32 * 1024 * 1024;
/// And for how long.
pub(crate) const REST_TIMEOUT: Duration = Duration::from_secs(10);
/// Most client connections, also bounded by a third of the descriptors this process may have. One client may have
/// half of them.
pub(crate) const CONNECTIONS: usize = 16 * 1024;
/// Most requests and upgraded streams at once towards one sandbox; beyond it 429.
pub(crate) const EXCHANGES_PER_SANDBOX: usize = 1024;
/// Most creates at once; beyond it 429.
pub(crate) const PENDING_CREATES: usize = 256;
/// How long a kill may take in all.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a pause, a resume or a snapshot may take in all.
pub(crate) const STATE_TIMEOUT: Duration = Duration::from_secs(120);
/// Most requests at once that wait until one sandbox is woken; beyond it 429.
pub(crate) const WAITING_PER_SANDBOX: usize = 256;
/// How long a request waits until its sandbox is woken.
pub(crate) const WAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a sandbox lives that was woken by traffic, in seconds.
pub(crate) const WAKE_LIFE_S: u64 = 300;
/// How long an agent may take to show that it answers, where a pause demands it.
pub(crate) const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Most snapshots.
pub(crate) const SNAPSHOTS: usize = 10_000;
/// Most forks in one request.
pub(crate) const FORKS: u64 = 100;
/// Most of them that are made at once.
pub(crate) const FORKS_AT_ONCE: usize = 8;
/// How long any other question to privd or netd may take.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new link, or a connection to a port through it, may take.
pub(crate) const LINK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the agent of a machine may take to answer on a new link.
pub(crate) const AGENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between attempts to reach a new machine that does not listen yet: privd opens four links a second.
pub(crate) const LISTEN_PAUSE: Duration = Duration::from_millis(300);
/// How often a link on which nobody answers is made anew.
pub(crate) const LINK_TRIES: u32 = 20;
/// And after which pause.
pub(crate) const LINK_PAUSE: Duration = Duration::from_millis(50);
/// How long the agent may take to answer `/init`.
pub(crate) const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses between attempts to reach a port on which nothing listens: the server may just be starting.
pub(crate) const DIAL_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
];
/// Most connections to ports asked for and not answered, for each sandbox.
pub(crate) const PENDING_TICKETS: usize = 256;
/// Idle connections kept for each sandbox and purpose, by each thread.
pub(crate) const IDLE_CONNECTIONS: usize = 16;
/// How long an idle connection to a sandbox is kept.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest life a sandbox may be given in one request, in seconds: 30 days.
pub(crate) const MAX_TIMEOUT_S: u64 = 30 * 24 * 3600;
/// Most metadata entries, and most variables.
pub(crate) const MAP_ENTRIES: usize = 256;
/// Most keys.
pub(crate) const KEYS: usize = 1000;
/// Signature checks for file URLs without a sandbox id: so many a second for one client.
pub(crate) const SIGNATURE_RATE: f64 = 50.0;
/// And so many at once.
pub(crate) const SIGNATURE_BURST: f64 = 100.0;
/// What the sandbox gets that serves a volume's content.
pub(crate) const CONTENT_SANDBOX: warder_wire::Limits = warder_wire::Limits {
    memory_mib: 256,
    cpu_percent: 100,
    pids: 64,
    disk_mib: 64,
};
/// How long it is kept when nobody uses it.
pub(crate) const CONTENT_IDLE: Duration = Duration::from_secs(30);
/// How long after a request began it counts as used even if it does not show yet.
pub(crate) const CONTENT_GRACE: Duration = Duration::from_secs(2);
/// Lease of a sandbox that no user sees; it is renewed long before.
pub(crate) const HIDDEN_TTL: Duration = Duration::from_secs(120);
/// Most sandboxes a pool may keep ready.
pub(crate) const POOL: u32 = 1000;
/// Most volumes.
pub(crate) const VOLUMES: usize = 1000;
/// Longest name of a volume in bytes.
pub(crate) const VOLUME_NAME: usize = 128;
/// So many a second for all clients together, since each costs a hash for every sandbox.
pub(crate) const SIGNATURE_RATE_ALL: f64 = 1000.0;
/// And so many at once.
pub(crate) const SIGNATURE_BURST_ALL: f64 = 2000.0;
/// Clients told apart for that.
pub(crate) const SIGNATURE_CLIENTS: usize = 4096;
/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most TLS handshakes at once; beyond it the connection is closed.
pub(crate) const HANDSHAKES: usize = 2048;
/// And for one client.
pub(crate) const HANDSHAKES_PER_CLIENT: usize = 128;
/// Most requests at once on one HTTP/2 connection.
pub(crate) const STREAMS: u32 = 128;
/// How many bytes of one request's body a client may send over HTTP/2 before somebody reads them.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
/// And of all on one connection.
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How many bytes of one answer wait for a slow client of HTTP/2.
pub(crate) const STREAM_BUFFER: usize = 64 * 1024;
/// Most requests a client may have begun and taken back before they were looked at; beyond it the connection ends.
pub(crate) const PENDING_RESETS: usize = 20;
/// Most requests that broke a rule of HTTP/2 and were reset for it; beyond it the connection ends.
pub(crate) const ERROR_RESETS: usize = 64;
/// How often a client of HTTP/2 that says nothing is asked whether it is there.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(60);
/// And how long it may take to say so.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Audit lines kept.
pub(crate) const AUDIT_LINES: u64 = 10_000;
/// Events kept.
pub(crate) const EVENTS: usize = 10_000;
/// And bytes of them, in memory and on disk; whichever is reached first drops the oldest.
pub(crate) const EVENT_BYTES: usize = 8 * 1024 * 1024;
/// Longest `eventData` in bytes; metadata that does not fit is left out and said to be.
pub(crate) const EVENT_DATA_BYTES: usize = 4 * 1024;
/// Refusals kept for each sandbox.
pub(crate) const REFUSALS: usize = 256;
/// And bytes of them; whichever is reached first drops the oldest.
pub(crate) const REFUSAL_BYTES: usize = 32 * 1024;
/// Refusals of all sandboxes that are kept for those who follow the events.
pub(crate) const REFUSALS_TOLD: usize = 2048;
/// Most who follow the events at once.
pub(crate) const EVENT_FOLLOWERS: usize = 16;
/// How often each running sandbox's use is sampled.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Samples kept of each sandbox, 20 bytes each: an hour.
pub(crate) const SAMPLES: usize = 720;
/// Lines of an agent that are read at most, and of a sandbox's life.
pub(crate) const LOG_LINES: usize = 1000;
/// Bytes of an agent's answer that are read at most.
pub(crate) const LOG_BYTES: usize = 2 * 1024 * 1024;
/// Longest text an agent's line may bring, in bytes.
pub(crate) const LOG_TEXT: usize = 1024;
/// How long a pause waits for an agent's lines.
pub(crate) const LOG_KEEP_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes of an agent's last lines kept of each sandbox, for when it cannot be asked.
pub(crate) const LOG_BYTES_KEPT: usize = 32 * 1024;
/// Idempotency keys remembered.
pub(crate) const IDEMPOTENCY_KEYS: usize = 1024;
/// How long an idempotency key is remembered.
pub(crate) const IDEMPOTENCY_LIFE: Duration = Duration::from_secs(3600);

/// Version of the agent interface that clients are told.
pub(crate) const ENVD_VERSION: &str = "0.6.13";
/// Deprecated, and demanded by clients.
pub(crate) const CLIENT_ID: &str = "warder";
/// The agent's port.
pub(crate) const AGENT_PORT: u16 = 49983;

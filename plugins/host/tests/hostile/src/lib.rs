//! Trust: zone 2, and none at all: the plugin that the tests of pluginhost load.
//! Input: the file `behaviour` beside it, or a word in the library itself, says how it attacks.
//! May: nothing, which is what the tests show.
//! Unsafe: raw system calls, and a constructor that runs while the library is being loaded.

use std::io::Write as _;
use std::time::Duration;

use warder_abi::message::{
    CellCreate, Description, EndReason, Ended, Fault, FaultCode, Limits, SandboxId, StorageClone,
    TemplateName, code, encode, kind,
};
use warder_abi::{Answer, Head, HostHandle, PluginCalls};

#[cfg(target_os = "linux")]
mod attacks;
/// They are made by numbers of Linux; what other systems refuse the probes of sys/confine try.
#[cfg(not(target_os = "linux"))]
mod attacks {
    pub(crate) fn all(when: &str) {
        panic!("no attacks at {when} here");
    }

    pub(crate) fn one(name: &str) {
        panic!("no attack {name} here");
    }
}

const KIND: u32 = kind::BACKEND;

warder_abi::export_plugin!(KIND, Hostile::new);

/// Runs before anything of the library is looked at.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    match behaviour().as_str() {
        "constructor" => attacks::all("constructor"),
        "constructor-exec" => attacks::one("execve"),
        "constructor-ptrace" => attacks::one("ptrace"),
        "constructor-mount" => attacks::one("mount"),
        "constructor-thread" => {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(700));
                attacks::all("late");
            });
        }
        "constructor-hangs" => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
}

/// What tests write a behaviour over, in a copy of their own: where no path can be opened (capsicum(4)) there is no file of it.
#[used]
static BEHAVIOUR: [u8; 64] = *b"behaviour:                                                      ";

fn behaviour() -> String {
    std::fs::read_to_string("/plugin/behaviour").unwrap_or_else(|_| {
        // Not what it was when this was compiled.
        let written = std::hint::black_box(&BEHAVIOUR);
        let written = written.strip_prefix(b"behaviour:").unwrap_or(written);
        String::from_utf8_lossy(written).trim().to_owned()
    })
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

struct Hostile {
    host: HostHandle,
    behaviour: String,
}

impl Hostile {
    fn new(host: HostHandle) -> Result<Self, Fault> {
        let behaviour = behaviour();
        match behaviour.as_str() {
            "refuses" => return Err(Fault::new(FaultCode::Unsupported, "not\x1b[2J today")),
            "panics-at-start" => panic!("at start"),
            "asks-at-start" => {
                let head = Head {
                    code: code::CELL_LIST,
                    operation: [0; 16],
                    deadline_ms: 60_000,
                };
                let fault = host
                    .call(head, &encode(&None::<SandboxId>))
                    .expect_err("too early");
                say(&format!("asked at start: {}", Fault::decode(&fault)));
            }
            _ => {}
        }
        Ok(Self { host, behaviour })
    }

    fn ask<T: warder_abi::message::Message>(&self, number: u32, body: &T) -> Answer {
        let head = Head {
            code: number,
            operation: [7; 16],
            deadline_ms: 2_000,
        };
        self.host.call(head, &encode(body))
    }

    /// Asks for what it must not have; says what came of it.
    fn lie(&self) {
        let limits = Limits {
            memory_mib: u32::MAX,
            cpu_percent: 0,
            pids: 0,
            disk_mib: 0,
        };
        let foreign = SandboxId("iforeignforeignforeig".into());
        let path = SandboxId("../../../etc/passwd__".into());
        let results = [
            ("foreign", self.ask(code::CELL_REMOVE, &foreign)),
            ("path", self.ask(code::STORAGE_DESTROY, &path)),
            (
                "template",
                self.ask(
                    code::STORAGE_CLONE,
                    &StorageClone {
                        sandbox: foreign.clone(),
                        template: TemplateName("../base".into()),
                    },
                ),
            ),
            (
                "limits",
                self.ask(
                    code::CELL_CREATE,
                    &CellCreate {
                        sandbox: foreign.clone(),
                        limits,
                    },
                ),
            ),
            ("unknown", self.ask(4711, &foreign)),
            ("garbage", self.ask(code::CELL_CREATE, &0xffff_u32)),
        ];
        for (name, result) in results {
            let fault = result.map_or_else(
                |bytes| format!("{:?}", Fault::decode(&bytes).code),
                |_| "done".into(),
            );
            say(&format!("lie {name}: {fault}"));
        }
        self.host.event(4711, b"nothing");
        let ended = Ended {
            sandbox: path,
            reason: EndReason::Removed,
        };
        self.host.event(code::EVENT_ENDED, &encode(&ended));
        self.host.log("two\nlines");
    }
}

impl PluginCalls for Hostile {
    fn call(&self, head: Head, _body: &[u8]) -> Answer {
        match (self.behaviour.as_str(), head.code) {
            (_, code::ADOPT) => Ok(encode(&Vec::<SandboxId>::new())),
            ("panics", code::CREATE) => panic!("in create"),
            ("exits", code::CREATE) => std::process::exit(0),
            ("hangs", code::CREATE) => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            ("tells-time", code::CREATE) => {
                say(&format!("a create has {} ms", head.deadline_ms));
                Err(encode(&Fault::new(FaultCode::System, "told")))
            }
            ("overflows", code::CREATE) => Ok(vec![deep(1)]),
            ("eats-memory", code::CREATE) => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 64 << 20]);
                }
            }
            ("lies", code::CREATE) => {
                self.lie();
                Ok(vec![0xff; 100_000])
            }
            ("lies", code::STATS) => Err(vec![0xff; 10]),
            ("attacks", code::CREATE) => {
                attacks::all("call");
                Err(encode(&Fault::new(FaultCode::System, "tried")))
            }
            ("attacks-exec", code::CREATE) => {
                attacks::one("execve");
                Ok(Vec::new())
            }
            (_, code::DESCRIBE) => Ok(encode(&Description {
                title: format!("hostile\n{}", "x".repeat(5_000)),
                ..Description::default()
            })),
            _ => Ok(Vec::new()),
        }
    }
}

/// Uses up the stack.
fn deep(n: u64) -> u8 {
    let room = [u8::try_from(n % 251).unwrap_or(0); 4096];
    let room = std::hint::black_box(room);
    if n == u64::MAX {
        return room[7];
    }
    deep(n + 1).wrapping_add(room[9])
}

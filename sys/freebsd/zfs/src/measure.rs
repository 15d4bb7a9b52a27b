//! How much disk sandboxes use: what each has written since it was cloned, or since the last snapshot of it.

use warder_wire::SandboxId;

use crate::calls;
use crate::error::Result;
use crate::listing;
use crate::names::Shelf;
use crate::store::{Host, Store};

impl<H: Host> Store<H> {
    /// Asks once for all of them. Slow.
    ///
    /// # Errors
    /// [`crate::ZfsError`].
    pub fn measure(&self) -> Result<()> {
        let root = self.at.layout.root();
        let output = self.at.run(&calls::usage(root), root)?;
        let text = output.text();
        let shelf = format!("{}/", self.at.layout.shelf(Shelf::Sandboxes));
        let mut lines = String::new();
        for (name, used) in listing::usage(&text)? {
            let of = if name == root {
                Some("")
            } else {
                name.strip_prefix(&shelf)
            };
            if let Some(of) = of {
                lines += &format!("{of} {used}\n");
            }
        }
        self.at.files.write("used", &lines)
    }

    /// Bytes that a sandbox used when last asked.
    #[must_use]
    pub fn used(&self, sandbox: &SandboxId) -> Option<u64> {
        self.used_by(sandbox.as_str())
    }

    /// The same by name; all of it without one.
    pub(crate) fn used_by(&self, of: &str) -> Option<u64> {
        let text = self.at.files.read("used").ok()??;
        let number = |line: &str| line.strip_prefix(of)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(number)
    }
}

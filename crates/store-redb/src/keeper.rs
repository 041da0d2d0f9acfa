//! What says, beside the rows, that a store is the newest copy of itself.

use std::io;

use reconvene_store::Head;
use reconvene_store::codec::encode_lineage;
use reconvene_store::opening::{LastCommit, Lineage, Witness};

use crate::engine::Changes;
use crate::witness::{LastCommits, WitnessFile};

/// The row of `meta` that says what is known of the store's openings, with the token of an orderly end.
pub(crate) const IDENTITY: &str = "identity";

/// Keeps the identity row and the witness in step with the head.
#[derive(Debug)]
pub(crate) struct Keeper {
    file: WitnessFile,
    last: LastCommits,
    lineage: Lineage,
    written: Witness,
}

/// What will be kept once some batches are durable.
#[derive(Debug)]
pub(crate) struct Prepared {
    lineage: Lineage,
    /// `None` if the one that is written covers them.
    witness: Option<Witness>,
}

impl Keeper {
    /// The keeper of a store that was opened like this: its witness is written.
    pub(crate) fn begin(file: WitnessFile, lineage: Lineage, witness: Witness) -> io::Result<Self> {
        file.stage(&witness)?;
        file.publish()?;
        let last = file.last_commits()?;
        Ok(Self { file, last, lineage, written: witness })
    }

    /// What goes into the transaction of batches that lead to `head`: nothing unless they renew the identity.
    pub(crate) fn beside(&self, head: &Head) -> Option<Changes> {
        let after = self.lineage.after(head);
        (after != self.lineage).then(|| identity_row(&after))
    }

    /// Before batches that lead to `head` are committed: does what may find no room, so that nothing has changed then.
    pub(crate) fn prepare(&self, head: &Head) -> io::Result<Prepared> {
        let lineage = self.lineage.after(head);
        let witness = (!self.written.covers(head)).then(|| Witness::of(head, &lineage));
        if let Some(witness) = &witness {
            self.file.stage(witness)?;
        }
        Ok(Prepared { lineage, witness })
    }

    /// After the batches are durable, and before anybody hears of them: what others have seen must not be taken for
    /// unused by an older copy. They lead to `head`.
    pub(crate) fn keep(&mut self, prepared: Prepared, head: &Head) -> io::Result<()> {
        self.lineage = prepared.lineage;
        // A note that cannot be written is as one that is behind: a copy from before is shown by the witness alone.
        drop(self.last.write(LastCommit::of(head), head.revision()));
        if let Some(witness) = prepared.witness {
            self.file.publish()?;
            self.written = witness;
        }
        Ok(())
    }

    /// The token of an orderly end at this head.
    pub(crate) fn token(&self, head: &Head) -> Changes {
        identity_row(&self.lineage.closed(head))
    }
}

pub(crate) fn identity_row(lineage: &Lineage) -> Changes {
    let mut row = Vec::new();
    encode_lineage(lineage, &mut row);
    Changes { meta: vec![(IDENTITY, row)], ..Changes::default() }
}

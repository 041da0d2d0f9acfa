//! Where data is: what this broker says that it holds, and who else does.

use std::collections::BTreeSet;

use reconvene_clock::{NodeId, ReplicaId};

use crate::coordinator::{Coordinator, number};
use crate::fact::{ContentHash, DataFact, DataId, DataName, DataState};
use crate::statistics::count;
use crate::view::{Content, DataContent, DataHolder, DataView};
use crate::{CommandError, EventKind, Fact, FactKey, Reply};

impl Coordinator {
    pub(super) fn publish_data(&mut self, name: &str, hash: ContentHash, size: u64) -> Result<Reply, CommandError> {
        let name = data_name(name)?;
        let id = name.id();
        let own = self.own.replica;
        let before = self.view.data().fact(id, own);
        let holds = before.is_some_and(|fact| fact.state == DataState::Present);
        if !holds || before.is_some_and(|fact| (fact.hash, fact.size) != (hash, size)) {
            let limit = self.config.max_data;
            if !holds && self.view.data().held_count(own) >= limit {
                let what = format!("the number of names published here ({limit})");
                return Err(CommandError::Busy { what, retry_after_ms: self.config.sync_interval_ms });
            }
            let fact = DataFact {
                revision: self.next_data_revision(id)?,
                state: DataState::Present,
                name: name.clone(),
                hash,
                size,
                at: self.next_stamp(),
            };
            count(&mut self.statistics.data_published);
            self.write(FactKey::Data { id, by: own }, Fact::Data(fact));
        }
        let elsewhere = self.contents(id).len() > 1;
        Ok(Reply::DataPublished { name, diverges: elsewhere })
    }

    pub(super) fn withdraw_data(&mut self, name: &str) -> Result<Reply, CommandError> {
        let name = data_name(name)?;
        let id = name.id();
        if self.view.data().name(id).is_none() {
            return Err(CommandError::UnknownData { name: name.as_str().to_owned() });
        }
        let held = self.own_word(id).filter(|(_, fact)| fact.state == DataState::Present).map(|(_, fact)| fact.clone());
        let was_held = held.is_some();
        let mut was_sole = false;
        if let Some(fact) = held {
            was_sole = !self.is_held_elsewhere(id, (fact.hash, fact.size));
            let (revision, at) = (self.next_data_revision(id)?, self.next_stamp());
            let fact = DataFact { revision, at, state: DataState::Gone, ..fact };
            count(&mut self.statistics.data_withdrawn);
            self.write(FactKey::Data { id, by: self.own.replica }, Fact::Data(fact));
        }
        Ok(Reply::DataWithdrawn { name, was_held, was_sole })
    }

    pub(super) fn locate_command(&self, name: &str) -> Result<Reply, CommandError> {
        let name = data_name(name)?;
        let unknown = || CommandError::UnknownData { name: name.as_str().to_owned() };
        self.locate(&name).map(|view| Reply::Located(Box::new(view))).ok_or_else(unknown)
    }

    /// Who holds the data of this name, as far as is known here: contents by hash, those with reachable holders first,
    /// and within each the reachable holders first. `None` if nobody is known ever to have held it.
    ///
    /// A broker that is silent is named all the same: nothing becomes undiscoverable with its holder.
    #[must_use]
    pub fn locate(&self, name: &DataName) -> Option<DataView> {
        let id = name.id();
        let name = self.view.data().name(id)?.clone();
        let mut contents: Vec<DataContent> = Vec::new();
        for (replica, fact) in self.words(id).into_iter().filter(|(_, fact)| fact.state == DataState::Present) {
            let member = self.view.member(replica);
            let own = replica == self.own.replica;
            let holder = DataHolder {
                replica,
                node: if own { Some(self.own.node) } else { member.map(|member| member.node) },
                address: member.and_then(|member| member.address.clone()),
                reachable: self.is_reachable(replica),
                since: fact.at,
            };
            match contents.iter_mut().find(|content| (content.hash, content.size) == (fact.hash, fact.size)) {
                Some(content) => content.holders.push(holder),
                None => contents.push(DataContent { hash: fact.hash, size: fact.size, holders: vec![holder] }),
            }
        }
        for content in &mut contents {
            content.holders.sort_by_key(|holder| (!holder.reachable, holder.node, holder.replica));
        }
        let reachable = |content: &DataContent| content.holders.iter().any(|holder| holder.reachable);
        contents.sort_by_key(|content| (!reachable(content), content.hash, content.size));
        let last_known = !contents.iter().any(reachable);
        Some(DataView { name, contents, last_known })
    }

    /// What this broker holds and no other that is heard does: the network cannot get at it while this one is away.
    pub fn sole_holdings(&self) -> impl Iterator<Item = (DataName, ContentHash, u64)> + '_ {
        let incarnations = self.view.incarnations(self.own.node).chain([self.own.replica]);
        self.view.data().held_by(incarnations).into_iter().filter_map(|id| {
            let (_, fact) = self.own_word(id)?;
            let sole = fact.state == DataState::Present && !self.is_held_elsewhere(id, (fact.hash, fact.size));
            sole.then(|| (fact.name.clone(), fact.hash, fact.size))
        })
    }

    /// This broker is about to leave.
    pub(super) fn leaving(&mut self) {
        let holder = self.own.replica;
        let soles: Vec<_> = self.sole_holdings().collect();
        for (name, hash, size) in soles {
            self.notify(EventKind::SoleHolder { name, hash, size, holder });
        }
    }

    /// A broker has said something about data.
    pub(super) fn data_changed(&mut self, id: DataId, by: ReplicaId) {
        let contents = self.contents(id);
        let before = if contents.len() > 1 {
            self.divergent.insert(id, contents.clone()).unwrap_or_default()
        } else {
            self.divergent.remove(&id);
            contents.clone()
        };
        // What was known before this broker was opened is no news.
        let Some(fact) = self.view.data().fact(id, by).filter(|_| !self.loading).cloned() else { return };
        let DataFact { name, hash, size, .. } = fact;
        self.notify(match fact.state {
            DataState::Present => EventKind::DataPublished { name: name.clone(), hash, size, holder: by },
            DataState::Gone => EventKind::DataWithdrawn { name: name.clone(), hash, size, holder: by },
        });
        if !contents.is_subset(&before) {
            count(&mut self.statistics.name_divergences);
            let contents = contents.into_iter().collect();
            self.notify(EventKind::NameDivergence { name, contents });
        }
    }

    /// What there is under a name, by the last word of each broker.
    fn contents(&self, id: DataId) -> BTreeSet<Content> {
        let words = self.words(id).into_iter();
        words.filter(|(_, fact)| fact.state == DataState::Present).map(|(_, fact)| (fact.hash, fact.size)).collect()
    }

    fn words(&self, id: DataId) -> Vec<(ReplicaId, &DataFact)> {
        self.view.data().last_words(id, |replica| self.broker_of(replica))
    }

    fn broker_of(&self, replica: ReplicaId) -> Option<(NodeId, u64)> {
        if replica == self.own.replica {
            return Some((self.own.node, self.own.incarnation));
        }
        self.view.member(replica).map(|member| (member.node, member.incarnation))
    }

    /// The last word of this broker about a name, in this incarnation or an earlier one.
    fn own_word(&self, id: DataId) -> Option<(ReplicaId, &DataFact)> {
        let is_ours = |replica| self.broker_of(replica).is_some_and(|(node, _)| node == self.own.node);
        self.words(id).into_iter().find(|(replica, _)| is_ours(*replica))
    }

    fn is_held_elsewhere(&self, id: DataId, content: Content) -> bool {
        self.words(id).into_iter().any(|(replica, fact)| {
            let other = self.broker_of(replica).is_none_or(|(node, _)| node != self.own.node);
            let holds = fact.state == DataState::Present && (fact.hash, fact.size) == content;
            other && holds && self.is_reachable(replica)
        })
    }

    /// Whether a holder is heard in the incarnation that said so: one that came back without its store may have come
    /// back without the data.
    fn is_reachable(&self, replica: ReplicaId) -> bool {
        replica == self.own.replica || (self.view.member(replica).is_some() && self.is_there(replica))
    }

    fn next_data_revision(&self, id: DataId) -> Result<u64, CommandError> {
        let last = self.own_word(id).map_or(0, |(_, fact)| fact.revision);
        let exhausted = || CommandError::out_of_range("the revision of the data", u64::MAX, "less");
        last.checked_add(1).ok_or_else(exhausted)
    }

    /// How many names of data are known here.
    pub(super) fn data_names(&self) -> u64 {
        number(self.view.data().len())
    }
}

fn data_name(name: &str) -> Result<DataName, CommandError> {
    let refused = |error: crate::fact::DataNameError| {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        CommandError::out_of_range("the name of the data", shown, error)
    };
    DataName::new(name).map_err(refused)
}

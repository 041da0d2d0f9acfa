//! The one spelling of a policy.
//!
//! ```text
//! "RCVP" | format u8 = 1 or 2 | algorithm u16 | version u16 | parameters, ascending by tag
//! parameter: tag u16 | length u16 | value                       all numbers little endian
//! ```
//! Every parameter that the strategy has in the format is written, defaults too, and no other. Format 2 adds the head room.
//! A policy is spelt in the first format that can say it, so those without a head room have the bytes and the names that
//! they had when there was no other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::policy::{Parameters, Policy, PolicyBuilder, PolicyError, PolicyId};
use crate::{AlgorithmId, BasisPoints, CausalOrder, HeadRoom, LateRule, Resources, StrategyKind, TierShares};

impl Policy {
    /// The longest canonical bytes that are read. Longer ones are refused before they are looked at.
    pub const MAX_BYTES: usize = 4_096;

    /// The one spelling of this policy; see [`decode`](Self::decode).
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        self.parameters.canonical_bytes()
    }

    /// The name of this policy.
    #[must_use]
    pub fn id(&self) -> PolicyId {
        PolicyId::of_bytes(&self.canonical_bytes())
    }

    /// The policy that these canonical bytes are. `decode(b)?.canonical_bytes() == b`, always.
    ///
    /// # Errors
    /// [`PolicyDecodeError`] for every other spelling: another order, a tag twice, a default left out, a byte too many.
    pub fn decode(bytes: &[u8]) -> Result<Self, PolicyDecodeError> {
        let Frame { format, algorithm, parameters } = Frame::read(bytes)?;
        let kind = StrategyKind::from_algorithm(algorithm).ok_or(PolicyDecodeError::UnknownAlgorithm { algorithm })?;
        let policy = read_parameters(kind, format, Values(parameters))?.build()?;
        // A format that says no more than an earlier one, and whatever the checks above have missed.
        if policy.canonical_bytes() != bytes {
            return Err(PolicyDecodeError::NotCanonical);
        }
        Ok(policy)
    }
}

/// Bytes that are no policy, or not the one spelling of one. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyDecodeError {
    /// More bytes than any policy has.
    #[error("{length} bytes of policy are over the limit of {}", Policy::MAX_BYTES)]
    TooLong {
        /// How many there were.
        length: usize,
    },
    /// They do not begin with `RCVP`.
    #[error("the bytes do not begin as a policy does")]
    NotAPolicy,
    /// A format that this version does not read.
    #[error("policy format {format} is not read by this version, which knows formats 1 and 2")]
    UnknownFormat {
        /// The format.
        format: u8,
    },
    /// They end within a parameter.
    #[error("the bytes end within a parameter")]
    Truncated,
    /// Tags that do not ascend, or one that stands twice.
    #[error("parameter {tag} does not come after parameter {after}")]
    Unordered {
        /// The tag.
        tag: u16,
        /// The one before it.
        after: u16,
    },
    /// An algorithm, or a version of one, that is not known here.
    #[error("{algorithm} is not known here")]
    UnknownAlgorithm {
        /// Which.
        algorithm: AlgorithmId,
    },
    /// A parameter that the strategy has is not written.
    #[error("parameter {tag} is missing")]
    Missing {
        /// Its tag.
        tag: u16,
    },
    /// A parameter that the strategy does not have is written.
    #[error("parameter {tag} is none of this strategy")]
    Unknown {
        /// Its tag.
        tag: u16,
    },
    /// A value of the wrong length, or that means nothing.
    #[error("the value of parameter {tag} cannot be read")]
    Value {
        /// Its tag.
        tag: u16,
    },
    /// The parameters make no policy.
    #[error("the parameters make no policy")]
    Invalid(#[from] PolicyError),
    /// Another spelling of a policy.
    #[error("not the canonical spelling of this policy")]
    NotCanonical,
}

/// What every policy has in common, also those whose algorithm is not known here.
pub(super) struct Frame<'a> {
    format: u8,
    pub(super) algorithm: AlgorithmId,
    parameters: BTreeMap<u16, &'a [u8]>,
}

impl<'a> Frame<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, PolicyDecodeError> {
        if bytes.len() > Policy::MAX_BYTES {
            return Err(PolicyDecodeError::TooLong { length: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(MARK) {
            return Err(PolicyDecodeError::NotAPolicy);
        }
        let format = reader.u8().ok_or(PolicyDecodeError::Truncated)?;
        if !(FORMAT_1..=FORMAT_2).contains(&format) {
            return Err(PolicyDecodeError::UnknownFormat { format });
        }
        let algorithm = reader.u16().zip(reader.u16()).ok_or(PolicyDecodeError::Truncated)?;
        let mut parameters = BTreeMap::new();
        while !reader.is_empty() {
            let (tag, length) = reader.u16().zip(reader.u16()).ok_or(PolicyDecodeError::Truncated)?;
            let value = reader.slice(length.into()).ok_or(PolicyDecodeError::Truncated)?;
            match parameters.last_key_value() {
                Some((&after, _)) if after >= tag => return Err(PolicyDecodeError::Unordered { tag, after }),
                _ => parameters.insert(tag, value),
            };
        }
        Ok(Self { format, algorithm: AlgorithmId::new(algorithm.0, algorithm.1), parameters })
    }
}

impl Parameters {
    fn canonical_bytes(&self) -> Vec<u8> {
        let format = if self.head_room == HeadRoom::NONE { FORMAT_1 } else { FORMAT_2 };
        let mut out = Writer::with_mark(MARK, format);
        let AlgorithmId { id, version } = self.kind.algorithm();
        out.u16(id);
        out.u16(version);
        if self.has_head_start() {
            let minutes = &self.head_start;
            put(&mut out, tag::PRIORITY, minutes.priority.to_le_bytes());
            put(&mut out, tag::DEADLINE, minutes.deadline.to_le_bytes());
            put(&mut out, tag::LIGHTNESS, minutes.lightness.to_le_bytes());
            put(&mut out, tag::SMALLNESS, minutes.smallness.to_le_bytes());
            put(&mut out, tag::EMERGENCY, minutes.emergency.to_le_bytes());
        }
        let ageing = &self.ageing;
        put(&mut out, tag::LATE, [late_code(ageing.late)]);
        put(&mut out, tag::RESERVE_AFTER, ageing.reserve_after_ms.to_le_bytes());
        put(&mut out, tag::FLOOR_AFTER, ageing.floor_after_ms.to_le_bytes());
        let [[a, b], [c, d], [e, f], [g, h]] = ageing.shares.get().map(|share| share.get().to_le_bytes());
        put(&mut out, tag::SHARES, [a, b, c, d, e, f, g, h]);
        if self.has_preemption() {
            let rules = &self.preemption;
            put(&mut out, tag::PREEMPTION, [u8::from(rules.enabled)]);
            put(&mut out, tag::TIER_GAP, [rules.tier_gap]);
            put(&mut out, tag::MIN_RUN, rules.min_run_ms.to_le_bytes());
            put(&mut out, tag::MAX_COUNT, rules.max_count.to_le_bytes());
            put(&mut out, tag::COOL_DOWN, rules.cool_down_ms.to_le_bytes());
            put(&mut out, tag::GRACE, rules.grace_ms.to_le_bytes());
            put(&mut out, tag::RESERVE, rules.reserve_ms.to_le_bytes());
            put(&mut out, tag::BUDGET, rules.budget.to_le_bytes());
            put(&mut out, tag::REFILL, rules.refill_ms.to_le_bytes());
        }
        if self.has_causal_order() {
            put(&mut out, tag::CAUSAL_ORDER, [order_code(self.causal_order)]);
        }
        if self.has_packing() {
            put(&mut out, tag::STARVATION_AFTER, self.packing.starvation_after_ms.to_le_bytes());
            put(&mut out, tag::SEARCH_ROUNDS, [self.packing.search_rounds]);
        }
        if self.has_head_room() && format >= FORMAT_2 {
            let room = self.head_room.room();
            put(&mut out, tag::HEAD_ROOM_CPU, room.cpu_milli.to_le_bytes());
            put(&mut out, tag::HEAD_ROOM_MEMORY, room.memory_mib.to_le_bytes());
            put(&mut out, tag::HEAD_ROOM_GPU, room.gpu_milli.to_le_bytes());
        }
        out.finish()
    }
}

fn put<const N: usize>(out: &mut Writer, tag: u16, value: [u8; N]) {
    const { assert!(N <= u8::MAX as usize, "values are short") };
    out.u16(tag);
    out.u16(u16::try_from(N).unwrap_or(u16::MAX));
    out.raw(&value);
}

/// The values that are not read yet.
struct Values<'a>(BTreeMap<u16, &'a [u8]>);

impl Values<'_> {
    fn take<const N: usize>(&mut self, tag: u16) -> Result<[u8; N], PolicyDecodeError> {
        let value = self.0.remove(&tag).ok_or(PolicyDecodeError::Missing { tag })?;
        value.try_into().map_err(|_| PolicyDecodeError::Value { tag })
    }

    fn u8(&mut self, tag: u16) -> Result<u8, PolicyDecodeError> {
        self.take(tag).map(|[byte]| byte)
    }

    fn u32(&mut self, tag: u16) -> Result<u32, PolicyDecodeError> {
        self.take(tag).map(u32::from_le_bytes)
    }

    fn u64(&mut self, tag: u16) -> Result<u64, PolicyDecodeError> {
        self.take(tag).map(u64::from_le_bytes)
    }

    fn code<T>(&mut self, tag: u16, meanings: &[T]) -> Result<T, PolicyDecodeError>
    where
        T: Copy,
    {
        let code = self.u8(tag)?;
        meanings.get(usize::from(code)).copied().ok_or(PolicyDecodeError::Value { tag })
    }
}

fn read_parameters(kind: StrategyKind, format: u8, mut values: Values<'_>) -> Result<PolicyBuilder, PolicyDecodeError> {
    let mut builder = Policy::builder(kind);
    let parameters = &mut builder.parameters;
    if parameters.has_head_start() {
        let minutes = &mut parameters.head_start;
        minutes.priority = values.u32(tag::PRIORITY)?;
        minutes.deadline = values.u32(tag::DEADLINE)?;
        minutes.lightness = values.u32(tag::LIGHTNESS)?;
        minutes.smallness = values.u32(tag::SMALLNESS)?;
        minutes.emergency = values.u32(tag::EMERGENCY)?;
    }
    let ageing = &mut parameters.ageing;
    ageing.late = values.code(tag::LATE, &LATE_RULES)?;
    ageing.reserve_after_ms = values.u64(tag::RESERVE_AFTER)?;
    ageing.floor_after_ms = values.u64(tag::FLOOR_AFTER)?;
    ageing.shares = read_shares(values.take(tag::SHARES)?).ok_or(PolicyDecodeError::Value { tag: tag::SHARES })?;
    if parameters.has_preemption() {
        let rules = &mut parameters.preemption;
        rules.enabled = values.code(tag::PREEMPTION, &[false, true])?;
        rules.tier_gap = values.u8(tag::TIER_GAP)?;
        rules.min_run_ms = values.u64(tag::MIN_RUN)?;
        rules.max_count = values.u32(tag::MAX_COUNT)?;
        rules.cool_down_ms = values.u64(tag::COOL_DOWN)?;
        rules.grace_ms = values.u64(tag::GRACE)?;
        rules.reserve_ms = values.u64(tag::RESERVE)?;
        rules.budget = values.u32(tag::BUDGET)?;
        rules.refill_ms = values.u64(tag::REFILL)?;
    }
    if parameters.has_causal_order() {
        parameters.causal_order = values.code(tag::CAUSAL_ORDER, &CAUSAL_ORDERS)?;
    }
    if parameters.has_packing() {
        parameters.packing.starvation_after_ms = values.u64(tag::STARVATION_AFTER)?;
        parameters.packing.search_rounds = values.u8(tag::SEARCH_ROUNDS)?;
    }
    if parameters.has_head_room() && format >= FORMAT_2 {
        let mut amount = |tag| values.u64(tag);
        let (cpu, memory) = (amount(tag::HEAD_ROOM_CPU)?, amount(tag::HEAD_ROOM_MEMORY)?);
        parameters.head_room = HeadRoom::new(Resources::new(cpu, memory, amount(tag::HEAD_ROOM_GPU)?));
    }
    match values.0.first_key_value() {
        Some((&tag, _)) => Err(PolicyDecodeError::Unknown { tag }),
        None => Ok(builder),
    }
}

fn read_shares([a, b, c, d, e, f, g, h]: [u8; 8]) -> Option<TierShares> {
    let share = |bytes| BasisPoints::new(u16::from_le_bytes(bytes));
    TierShares::new([share([a, b])?, share([c, d])?, share([e, f])?, share([g, h])?]).ok()
}

const fn late_code(rule: LateRule) -> u8 {
    match rule {
        LateRule::LoseUrgency => 0,
        LateRule::LateTier => 1,
        LateRule::Refuse => 2,
        LateRule::Keep => 3,
    }
}

const fn order_code(order: CausalOrder) -> u8 {
    match order {
        CausalOrder::Earliest => 0,
        CausalOrder::Latest => 1,
    }
}

const LATE_RULES: [LateRule; 4] = [LateRule::LoseUrgency, LateRule::LateTier, LateRule::Refuse, LateRule::Keep];
const CAUSAL_ORDERS: [CausalOrder; 2] = [CausalOrder::Earliest, CausalOrder::Latest];

const MARK: [u8; 4] = *b"RCVP";
const FORMAT_1: u8 = 1;
/// With the head room.
const FORMAT_2: u8 = 2;

/// The tags of both formats. They are never given to anything else.
mod tag {
    pub(super) const PRIORITY: u16 = 1;
    pub(super) const DEADLINE: u16 = 2;
    pub(super) const LIGHTNESS: u16 = 3;
    pub(super) const SMALLNESS: u16 = 4;
    pub(super) const EMERGENCY: u16 = 5;

    pub(super) const LATE: u16 = 16;
    pub(super) const RESERVE_AFTER: u16 = 17;
    pub(super) const FLOOR_AFTER: u16 = 18;
    pub(super) const SHARES: u16 = 19;

    pub(super) const PREEMPTION: u16 = 32;
    pub(super) const TIER_GAP: u16 = 33;
    pub(super) const MIN_RUN: u16 = 34;
    pub(super) const MAX_COUNT: u16 = 35;
    pub(super) const COOL_DOWN: u16 = 36;
    pub(super) const GRACE: u16 = 37;
    pub(super) const RESERVE: u16 = 38;
    pub(super) const BUDGET: u16 = 39;
    pub(super) const REFILL: u16 = 40;

    pub(super) const CAUSAL_ORDER: u16 = 48;

    pub(super) const STARVATION_AFTER: u16 = 64;
    pub(super) const SEARCH_ROUNDS: u16 = 65;

    pub(super) const HEAD_ROOM_CPU: u16 = 80;
    pub(super) const HEAD_ROOM_MEMORY: u16 = 81;
    pub(super) const HEAD_ROOM_GPU: u16 = 82;
}

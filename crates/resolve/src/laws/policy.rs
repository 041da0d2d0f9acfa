//! The law of policies: any valid one survives its bytes, and no other bytes are it.

use alloc::format;
use alloc::vec::Vec;

use crate::laws::{Draws, Law, Random, Report, Violation, ensure, of_function};
use crate::{
    AgeingRules, BasisPoints, CausalOrder, HeadRoom, HeadStartMinutes, LateRule, PackingRules, Policy,
    PolicyDecodeError, PreemptionRules, Resources, StrategyKind, TierShares,
};

type Decode<'a> = dyn Fn(&[u8]) -> Result<Policy, PolicyDecodeError> + 'a;

/// The law of a decoder of policies, as [`Policy::decode`], to be [checked](PolicyLaws::check): it reads what any valid
/// policy writes, and accepts no bytes that the policy it read would not write.
#[must_use]
pub fn policies<'a>(decode: &'a Decode<'a>) -> PolicyLaws<'a> {
    PolicyLaws { decode, draws: Draws::DEFAULT }
}

/// See [`policies`].
#[derive(Clone, Copy)]
pub struct PolicyLaws<'a> {
    decode: &'a Decode<'a>,
    draws: Draws,
}

of_function!(PolicyLaws on "policies");

impl PolicyLaws<'_> {
    /// Reads every policy back, and four other spellings of each.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check(&self) -> Result<Report, Violation> {
        let law = Law::PolicyRoundtrips;
        self.draws.run(Vec::from([law]), |random| {
            let Some(policy) = draw(random) else { return Ok(()) };
            let bytes = policy.canonical_bytes();
            let read = (self.decode)(&bytes);
            ensure(law, read.as_ref() == Ok(&policy), || format!("{policy:?} came back as {read:?}"))?;
            for _ in 0..4 {
                let other = misspelt(&bytes, random);
                let Ok(read) = (self.decode)(&other) else { continue };
                ensure(law, read.canonical_bytes() == other, || format!("{other:02x?} was read as {read:?}"))?;
            }
            Ok(())
        })
    }
}

/// A random valid policy; `None` if what was drawn is refused.
fn draw(random: &mut Random) -> Option<Policy> {
    let kind = StrategyKind::ALL.get(random.place(StrategyKind::ALL.len())).copied()?;
    let mut minutes = || u32::try_from(random.below(16_000)).unwrap_or(0);
    let head_start = HeadStartMinutes {
        priority: minutes(),
        deadline: minutes(),
        lightness: minutes(),
        smallness: minutes(),
        emergency: minutes(),
    };
    let rules = [LateRule::LoseUrgency, LateRule::LateTier, LateRule::Refuse, LateRule::Keep];
    let mut share = || BasisPoints::from_ratio(random.below(26), 100);
    let shares = TierShares::new([share(), share(), share(), share()]).ok()?;
    let ageing = AgeingRules {
        late: rules.get(random.place(rules.len())).copied()?,
        reserve_after_ms: random.extreme(),
        floor_after_ms: random.extreme(),
        shares,
    };
    let preemption = PreemptionRules {
        enabled: random.once_in(2),
        tier_gap: u8::try_from(random.below(201)).unwrap_or(0),
        min_run_ms: random.extreme(),
        max_count: u32::try_from(random.below(4)).unwrap_or(0),
        cool_down_ms: random.extreme(),
        grace_ms: random.extreme(),
        reserve_ms: random.extreme(),
        budget: u32::try_from(random.below(100)).unwrap_or(0),
        refill_ms: random.extreme().max(1),
    };
    let search_rounds = u8::try_from(random.below(17)).unwrap_or(0);
    let packing = PackingRules { starvation_after_ms: random.extreme(), search_rounds };
    let none = random.once_in(3);
    let mut amount = || if none { 0 } else { random.extreme() };
    let head_room = HeadRoom::new(Resources::new(amount(), amount(), amount()));
    let builder = Policy::builder(kind).ageing(ageing);
    let builder = match kind {
        StrategyKind::FirstComeFirstServed => builder,
        StrategyKind::PriorityBased => builder.head_start(head_start),
        StrategyKind::EmergencyFirst => builder.head_start(head_start).preemption(preemption).head_room(head_room),
        StrategyKind::ResourceOptimal => builder.preemption(preemption).packing(packing),
        StrategyKind::VectorClockCausal => {
            let latest = random.once_in(2);
            builder.causal_order(if latest { CausalOrder::Latest } else { CausalOrder::Earliest })
        }
    };
    builder.build().ok()
}

/// The same bytes with something done to them that a careless decoder would not notice.
fn misspelt(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut other = bytes.to_vec();
    let header = 9_usize.min(bytes.len());
    match random.below(5) {
        0 => {
            let place = random.place(other.len());
            if let Some(byte) = other.get_mut(place) {
                *byte ^= u8::try_from(random.below(255).saturating_add(1)).unwrap_or(1);
            }
        }
        1 => other.truncate(random.place(other.len())),
        2 => other.push(u8::try_from(random.below(256)).unwrap_or(0)),
        // The parameters once more, or in another order.
        3 => other.extend(bytes.get(header..).unwrap_or_default()),
        _ => {
            let (head, parameters) = bytes.split_at(header);
            let (first, rest) = parameters.split_at(parameter_length(parameters));
            other = [head, rest, first].concat();
        }
    }
    other
}

/// The bytes of the first parameter, with its tag and length.
fn parameter_length(parameters: &[u8]) -> usize {
    match parameters {
        [_, _, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])).saturating_add(4).min(parameters.len()),
        _ => 0,
    }
}

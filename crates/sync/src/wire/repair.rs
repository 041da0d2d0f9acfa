//! The bytes of repair.

use reconvene_clock::Dot;
use reconvene_store::{Key, MAX_KEY_BYTES};
use serde::{Deserialize, Serialize};

use super::{Id, join, split};
use crate::codec::{CodecError, CodecProblem, List};
use crate::columns::{pack, unpack};
use crate::message::{BUCKETS, MAX_ASKED, Repair, RepairStep, Scope};
use crate::ranges::Ranges;
use crate::sketch::{Cell, MAX_CELLS};

/// Dots of one frame; the frame bounds them as well.
const MAX_DOTS: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct WireRepair {
    session: Id,
    step: WireStep,
}

#[derive(Serialize, Deserialize)]
enum WireStep {
    Buckets {
        floor: bool,
        coded: bool,
        knowledge: Id,
        /// 4 bytes each, or behind a floor 8.
        prints: List<u8, { BUCKETS * 8 }>,
    },
    Dots {
        buckets: List<u8, BUCKETS>,
        dots: Ranges,
        /// One for each dot, in their order.
        prints: List<[u8; 4], MAX_DOTS>,
        more: bool,
    },
    Sketch {
        buckets: List<u8, BUCKETS>,
        before: u16,
        cells: List<(Id, [u8; 4]), MAX_CELLS>,
        more: bool,
    },
    List,
    Next,
    /// Columns of what is given follow.
    Ask {
        number: u32,
        dots: Ranges,
        prints: List<Id, MAX_ASKED>,
        keys: List<List<u8, MAX_KEY_BYTES>, MAX_ASKED>,
    },
    /// Columns follow.
    Answer {
        number: u32,
        covered: u32,
    },
    Done,
}

/// The body of a frame.
pub(super) fn encode_repair(repair: &Repair) -> Result<Vec<u8>, CodecError> {
    let mut columns = Vec::new();
    let step = match &repair.step {
        RepairStep::Buckets { scope, coded, knowledge, prints } => WireStep::Buckets {
            coded: *coded,
            floor: *scope == Scope::BehindFloor,
            knowledge: knowledge.to_be_bytes(),
            prints: List(prints.iter().flat_map(|print| print_bytes(*scope, *print)).collect()),
        },
        RepairStep::Dots { buckets, dots, prints, more } => WireStep::Dots {
            buckets: List(buckets.clone()),
            dots: dots.clone(),
            prints: List(prints.clone()),
            more: *more,
        },
        RepairStep::Sketch { buckets, before, cells, more } => {
            let cell = |cell: &Cell| (cell.items.to_be_bytes(), cell.checks.to_be_bytes());
            let cells = List(cells.iter().map(cell).collect());
            WireStep::Sketch { buckets: List(buckets.clone()), before: *before, cells, more: *more }
        }
        RepairStep::List => WireStep::List,
        RepairStep::Next => WireStep::Next,
        RepairStep::Ask { number, dots, prints, keys, given } => {
            columns = pack(given)?;
            let keys = List(keys.iter().map(|key| List(key.as_bytes().to_vec())).collect());
            let prints = List(prints.iter().map(|print| print.to_be_bytes()).collect());
            WireStep::Ask { number: *number, dots: Ranges::of_dots(dots.iter().copied()), prints, keys }
        }
        RepairStep::Answer { number, covered, versions } => {
            columns = pack(versions)?;
            WireStep::Answer { number: *number, covered: *covered }
        }
        RepairStep::Done => WireStep::Done,
    };
    join(&WireRepair { session: (&repair.session).into(), step }, &columns)
}

/// The repair in the body of a frame.
pub(super) fn decode_repair(body: &[u8]) -> Result<Repair, CodecError> {
    let (WireRepair { session, step }, columns) = split(body)?;
    let none_follow = columns.is_empty();
    let step = match step {
        WireStep::Buckets { floor, coded, knowledge, prints } if none_follow => {
            let scope = if floor { Scope::BehindFloor } else { Scope::Divergence };
            let prints = read_prints(scope, &prints.0)?;
            RepairStep::Buckets { coded, scope, knowledge: u64::from_be_bytes(knowledge), prints }
        }
        WireStep::Dots { buckets, dots, prints, more } if none_follow => {
            if !buckets.0.is_sorted_by(|left, right| left < right) {
                return Err(CodecProblem::NotCanonical.into());
            }
            if usize::try_from(dots.count()) != Ok(prints.0.len()) {
                return Err(CodecProblem::Range("dots and prints").into());
            }
            RepairStep::Dots { buckets: buckets.0, dots, prints: prints.0, more }
        }
        WireStep::Sketch { buckets, before, cells, more } if none_follow => {
            if !buckets.0.is_sorted_by(|left, right| left < right) {
                return Err(CodecProblem::NotCanonical.into());
            }
            let cell = |(items, checks): (Id, [u8; 4])| Cell {
                items: u64::from_be_bytes(items),
                checks: u32::from_be_bytes(checks),
            };
            let cells = cells.0.into_iter().map(cell).collect();
            RepairStep::Sketch { buckets: buckets.0, before, cells, more }
        }
        WireStep::List if none_follow => RepairStep::List,
        WireStep::Next if none_follow => RepairStep::Next,
        WireStep::Done if none_follow => RepairStep::Done,
        WireStep::Ask { number, dots, prints, keys } => RepairStep::Ask {
            number,
            prints: prints.0.into_iter().map(u64::from_be_bytes).collect(),
            dots: expand(&dots)?,
            keys: keys.0.iter().map(|key| Key::new(&key.0)).collect::<Result<_, _>>().map_err(|_| KEY)?,
            given: unpack(columns)?,
        },
        WireStep::Answer { number, covered } => RepairStep::Answer { number, covered, versions: unpack(columns)? },
        WireStep::Buckets { .. }
        | WireStep::Dots { .. }
        | WireStep::Sketch { .. }
        | WireStep::List
        | WireStep::Next
        | WireStep::Done => {
            return Err(CodecProblem::NotCanonical.into());
        }
    };
    Ok(Repair { session: session.into(), step })
}

const KEY: CodecProblem = CodecProblem::Range("key");

/// As many bytes of a print as are told of it.
fn print_bytes(scope: Scope, print: u64) -> Vec<u8> {
    match (scope, u32::try_from(print)) {
        (Scope::Divergence, Ok(print)) => print.to_be_bytes().to_vec(),
        (Scope::Divergence, Err(_)) | (Scope::BehindFloor, _) => print.to_be_bytes().to_vec(),
    }
}

fn read_prints(scope: Scope, bytes: &[u8]) -> Result<Vec<u64>, CodecError> {
    let (prints, rest): (Vec<u64>, &[u8]) = match scope {
        Scope::Divergence => {
            let (prints, rest) = bytes.as_chunks::<4>();
            (prints.iter().map(|print| u32::from_be_bytes(*print).into()).collect(), rest)
        }
        Scope::BehindFloor => {
            let (prints, rest) = bytes.as_chunks::<8>();
            (prints.iter().map(|print| u64::from_be_bytes(*print)).collect(), rest)
        }
    };
    if rest.is_empty() && prints.len() <= BUCKETS { Ok(prints) } else { Err(CodecProblem::Range("prints").into()) }
}

/// The dots that are asked for: a range says much in few bytes.
fn expand(dots: &Ranges) -> Result<Vec<Dot>, CodecError> {
    if usize::try_from(dots.count()).map_or(true, |count| count > MAX_ASKED) {
        return Err(CodecProblem::Range("number of dots").into());
    }
    Ok(dots.dots().collect())
}

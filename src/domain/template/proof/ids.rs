//! Two tenant ids of given lengths of which we learn, character by character, what they must be.

use crate::domain::ids::TenantId;

/// The characters of tenant ids, a bit for each.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";
const ANY: u64 = (1 << ALPHABET.len()) - 1;
const NO_HYPHEN: u64 = ANY >> 1;

/// What ids look like if nothing says otherwise.
const LIKED: &[u8] = b"acme-corp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A place in one of the two ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// Places that must hold the same character form a class. A class is known by one of its places, to
/// which the others lead, and which knows the characters that are left.
#[derive(Debug)]
pub(super) struct Ids {
    lengths: [usize; 2],
    parents: Vec<usize>,
    left: Vec<u64>,
    /// What has changed, so that it can be taken back: a place, its former parent and characters.
    log: Vec<(usize, usize, u64)>,
}

fn bit(byte: u8) -> u64 {
    ALPHABET.iter().position(|own| *own == byte).map_or(0, |index| 1 << index)
}

impl Ids {
    pub(super) const fn new() -> Self {
        Self { lengths: [0; 2], parents: Vec::new(), left: Vec::new(), log: Vec::new() }
    }

    /// Forgets all. A side that is known has the length of its id.
    pub(super) fn reset(&mut self, lengths: [usize; 2], known: [Option<&TenantId>; 2]) {
        self.lengths = lengths;
        self.log.clear();
        self.parents.clear();
        self.parents.extend(0..lengths.iter().sum());
        self.left.clear();
        for (length, known) in lengths.into_iter().zip(known) {
            match known {
                Some(id) => self.left.extend(id.as_str().bytes().map(bit)),
                None => self.left.extend(
                    (0..length).map(|at| if at == 0 || at + 1 == length { NO_HYPHEN } else { ANY }),
                ),
            }
        }
    }

    pub(super) const fn length(&self, side: Side) -> usize {
        let [left, right] = self.lengths;
        match side {
            Side::Left => left,
            Side::Right => right,
        }
    }

    pub(super) fn place(&self, side: Side, at: usize) -> Place {
        match side {
            Side::Left => Place(at),
            Side::Right => Place(self.length(Side::Left) + at),
        }
    }

    fn class(&self, place: Place) -> usize {
        let mut at = place.0;
        while let Some(parent) = self.parents.get(at).filter(|parent| **parent != at) {
            at = *parent;
        }
        at
    }

    fn characters(&self, class: usize) -> u64 {
        self.left.get(class).copied().unwrap_or(0)
    }

    /// The one character that the place can hold.
    pub(super) fn byte(&self, place: Place) -> Option<u8> {
        let characters = self.characters(self.class(place));
        pick(characters, None).filter(|_| characters.is_power_of_two())
    }

    fn set(&mut self, class: usize, parent: usize, characters: u64) {
        if let (Some(own), Some(left)) = (self.parents.get_mut(class), self.left.get_mut(class)) {
            self.log.push((class, *own, *left));
            (*own, *left) = (parent, characters);
        }
    }

    /// Whether the place can hold this character. From now on it does.
    pub(super) fn is(&mut self, place: Place, byte: u8) -> bool {
        let class = self.class(place);
        let characters = self.characters(class) & bit(byte);
        self.set(class, class, characters);
        characters != 0
    }

    /// Whether the two places can hold the same character. From now on they do.
    pub(super) fn same(&mut self, one: Place, other: Place) -> bool {
        let (one, other) = (self.class(one), self.class(other));
        if one == other {
            return true;
        }
        let characters = self.characters(one) & self.characters(other);
        self.set(other, one, characters);
        self.set(one, one, characters);
        characters != 0
    }

    pub(super) fn mark(&self) -> usize {
        self.log.len()
    }
    pub(super) fn take_back(&mut self, mark: usize) {
        while self.log.len() > mark {
            let Some((class, parent, characters)) = self.log.pop() else { return };
            if let (Some(own), Some(left)) = (self.parents.get_mut(class), self.left.get_mut(class))
            {
                (*own, *left) = (parent, characters);
            }
        }
    }

    /// The classes at the last place where the ids, of the same length, need not be equal.
    fn difference(&self) -> Option<[usize; 2]> {
        let places = (0..self.length(Side::Left)).rev();
        let mut classes =
            places.map(|at| [Side::Left, Side::Right].map(|side| self.class(self.place(side, at))));
        classes.find(|[one, other]| {
            let (left, right) = (self.characters(*one), self.characters(*other));
            one != other && (left != right || left.count_ones() > 1)
        })
    }

    /// Whether two ids that satisfy all this can be different.
    pub(super) fn can_differ(&self) -> bool {
        let [left, right] = self.lengths;
        left != right || self.difference().is_some()
    }

    /// Two such ids, pleasant to read where there is a choice.
    pub(super) fn examples(&self) -> Option<[TenantId; 2]> {
        let mut chosen = vec![None; self.parents.len()];
        let [left, right] = self.lengths;
        let sides =
            if left <= right { [Side::Left, Side::Right] } else { [Side::Right, Side::Left] };
        for side in sides {
            for at in 0..self.length(side) {
                let class = self.class(self.place(side, at));
                let choice = chosen.get_mut(class)?;
                if choice.is_none() {
                    *choice = Some(pick(self.characters(class), LIKED.get(at).copied())?);
                }
            }
        }
        let equal = |classes: [usize; 2]| {
            let [one, other] = classes.map(|class| chosen.get(class).copied().flatten());
            one == other
        };
        if left == right
            && let Some([one, other]) = self.difference().filter(|classes| equal(*classes))
        {
            let taken = chosen.get(one).copied().flatten()?;
            let class = if self.characters(other).count_ones() > 1 { other } else { one };
            *chosen.get_mut(class)? = Some(pick(self.characters(class) & !bit(taken), None)?);
        }
        let text = |side| -> Option<TenantId> {
            let bytes = (0..self.length(side)).map(|at| {
                let class = self.class(self.place(side, at));
                chosen.get(class).copied().flatten().map(char::from)
            });
            bytes.collect::<Option<String>>()?.parse().ok()
        };
        Some([text(Side::Left)?, text(Side::Right)?])
    }
}

fn pick(characters: u64, liked: Option<u8>) -> Option<u8> {
    let good = |byte: &u8| characters & bit(*byte) != 0;
    liked.into_iter().chain([b'x']).chain(ALPHABET.iter().copied()).find(good)
}

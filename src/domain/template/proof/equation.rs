//! Whether two rows of selectors can match a common text each, for two different tenants.

use crate::domain::ids::TenantId;
use crate::domain::template::proof::ids::Ids;
use crate::domain::template::proof::ids::Place;
use crate::domain::template::proof::ids::Side;
use crate::domain::template::proof::shape::Atom;
use crate::domain::template::proof::shape::MAX_VALUE;
use crate::domain::template::proof::shape::Shape;
use crate::domain::template::proof::shape::Size;
use crate::domain::template::proof::shape::Text;
use crate::domain::template::proof::shape::is_value_byte;

/// The longest tenant id.
pub(super) const MAX_TENANT: usize = 63;

/// How much may still be tried, so that no set of templates can keep the proof busy for ever.
pub(super) struct Budget(pub(super) u64);

/// Too much to try.
pub(super) struct Spent;

impl Budget {
    fn spend(&mut self) -> Result<(), Spent> {
        self.0 = self.0.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }
}

/// Two blocks that must hold the same text. One that is open may end where the other goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    blocks: [&'a [Atom]; 2],
    open: [bool; 2],
    sizes: [Size; 2],
}

impl<'a> Pair<'a> {
    fn new(left: &'a [Atom], right: &'a [Atom], open: [bool; 2]) -> Self {
        Self { blocks: [left, right], open, sizes: [Size::of(left), Size::of(right)] }
    }
    fn names_tenant(&self) -> bool {
        self.sizes.iter().any(|size| size.tenants > 0)
    }
    fn has_values(&self) -> bool {
        self.sizes.iter().any(|size| size.values > 0)
    }
    /// The same text around the same tenant, and nothing else: then the tenants are the same.
    fn equates_tenants(&self) -> bool {
        let [left, right] = self.blocks;
        self.open == [false, false] && self.names_tenant() && !self.has_values() && left == right
    }
    /// Whether the literals at the ends allow it, where both have one.
    fn ends_agree(&self) -> bool {
        let agree = |ends: [Option<&Atom>; 2], aligned: fn(&[u8], &[u8]) -> bool| match ends {
            [Some(Atom::Literal(left)), Some(Atom::Literal(right))] => {
                aligned(left, right) || aligned(right, left)
            }
            _ => true,
        };
        agree(self.blocks.map(<[Atom]>::first), <[u8]>::starts_with)
            && (self.open != [false, false]
                || agree(self.blocks.map(<[Atom]>::last), <[u8]>::ends_with))
    }
    /// Whether tenants of these lengths allow it.
    fn lengths_agree(&self, lengths: [usize; 2]) -> bool {
        let [left, right] = self.sizes;
        let [tenant, other] = lengths;
        let [left_open, right_open] = self.open;
        (right_open || left.least(tenant) <= right.most(other))
            && (left_open || right.least(other) <= left.most(tenant))
    }
}

/// The pairs of blocks of two texts, if the delimiters allow it. A prefix may end before the other.
pub(super) fn pairs<'a>(left: &'a Text, right: &'a Text) -> Option<Vec<Pair<'a>>> {
    let agree = left.delimiters.iter().zip(&right.delimiters).all(|(left, right)| left == right);
    let (longest, others) = (left.blocks.len(), right.blocks.len());
    if !agree || (longest < others && !left.prefix) || (others < longest && !right.prefix) {
        return None;
    }
    let last = longest.min(others) - 1;
    let pair = |(index, (own, other)): (usize, (&'a Vec<Atom>, &'a Vec<Atom>))| {
        let open = |text: &Text, count: usize| text.prefix && index == last && count == last + 1;
        Pair::new(own, other, [open(left, longest), open(right, others)])
    };
    Some(left.blocks.iter().zip(&right.blocks).enumerate().map(pair).collect())
}

/// All that must hold if two rows of selectors are to meet.
pub(super) struct Equation<'a> {
    /// The pairs of blocks that name a tenant, those without other values first.
    pairs: Vec<Pair<'a>>,
}

impl<'a> Equation<'a> {
    /// `None` if no two tenants whatever let them meet.
    pub(super) fn between(
        left: &'a [Shape],
        right: &'a [Shape],
        budget: &mut Budget,
    ) -> Result<Option<Self>, Spent> {
        budget.spend()?;
        let mut bound = Vec::new();
        let mut free = Vec::new();
        for shapes in left.iter().zip(right) {
            let (Shape::Text(left), Shape::Text(right)) = shapes else { continue };
            let Some(pairs) = pairs(left, right) else { return Ok(None) };
            for pair in pairs {
                if pair.equates_tenants() || !pair.ends_agree() {
                    return Ok(None);
                }
                if pair.names_tenant() { bound.push(pair) } else { free.push(pair) }
            }
        }
        // No tenant stands in these, so each is a question of its own.
        for pair in free {
            if Search::new(&[pair], budget).run([1, 1], [None; 2])?.is_none() {
                return Ok(None);
            }
        }
        bound.sort_by_key(Pair::has_values);
        Ok(Some(Self { pairs: bound }))
    }

    /// Two different tenants for whom all holds, tried in this order of their lengths. Where a tenant
    /// is given, it is this one.
    pub(super) fn solve(
        &self,
        known: [Option<&TenantId>; 2],
        lengths: &[[usize; 2]],
        budget: &mut Budget,
    ) -> Result<Option<[TenantId; 2]>, Spent> {
        let mut search = Search::new(&self.pairs, budget);
        for &lengths in lengths {
            let fits = |(length, known): (usize, Option<&TenantId>)| {
                known.is_none_or(|id| id.as_str().len() == length)
            };
            search.budget.spend()?;
            if self.pairs.iter().all(|pair| pair.lengths_agree(lengths))
                && lengths.into_iter().zip(known).all(fits)
                && search.run(lengths, known)?.is_some()
            {
                return Ok(search.ids.examples());
            }
        }
        Ok(None)
    }
}

/// A text that both sides match for these tenants, who are known to let them meet.
pub(super) fn common_text(
    shapes: [&Shape; 2],
    tenants: &[TenantId; 2],
    budget: &mut Budget,
) -> Option<String> {
    let [one, other] = tenants;
    let known = [Some(one), Some(other)];
    let lengths = [one.as_str().len(), other.as_str().len()];
    let all = Text { prefix: true, blocks: vec![Vec::new()], delimiters: Vec::new() };
    let [left, right] = shapes.map(|shape| match shape {
        Shape::All => &all,
        Shape::Text(text) => text,
    });
    let longer = if left.blocks.len() > right.blocks.len() { left } else { right };
    let side = if std::ptr::eq(longer, left) { Side::Left } else { Side::Right };
    let shared = pairs(left, right)?;
    let mut text = Vec::new();
    for (index, block) in longer.blocks.iter().enumerate() {
        let delimiter = index.checked_sub(1).and_then(|before| longer.delimiters.get(before));
        text.extend(delimiter);
        // Where one side has ended, the other goes on alone.
        let pair = shared.get(index).copied().unwrap_or_else(|| match side {
            Side::Left => Pair::new(block, &[], [false, true]),
            Side::Right => Pair::new(&[], block, [true, false]),
        });
        let pairs = [pair];
        let mut search = Search::new(&pairs, budget);
        let symbols = search.run(lengths, known).ok()??.to_vec();
        text.extend(
            symbols
                .into_iter()
                .map(|symbol| match symbol {
                    Symbol::Byte(byte) => Some(byte),
                    Symbol::Of(place) => search.ids.byte(place),
                    Symbol::Any | Symbol::Unchosen => Some(b'x'),
                })
                .collect::<Option<Vec<u8>>>()?,
        );
    }
    String::from_utf8(text).ok()
}

/// Where we are in a block.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    atom: usize,
    /// Bytes of the atom that are behind us.
    behind: usize,
    /// The length that was chosen for the value we are in.
    chosen: Option<usize>,
}

/// What comes next in a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol {
    Byte(u8),
    /// A character of a tenant's id.
    Of(Place),
    /// Any character of a value.
    Any,
    /// A value whose length is not chosen yet.
    Unchosen,
}

/// Walks both sides of all pairs at once, character by character.
struct Search<'a, 'b> {
    pairs: &'a [Pair<'a>],
    budget: &'b mut Budget,
    ids: Ids,
    /// What both sides hold, as far as we have come.
    common: Vec<Symbol>,
}

impl<'a, 'b> Search<'a, 'b> {
    const fn new(pairs: &'a [Pair<'a>], budget: &'b mut Budget) -> Self {
        Self { pairs, budget, ids: Ids::new(), common: Vec::new() }
    }

    /// What both sides hold, if all pairs can be made equal for two different tenants.
    fn run(
        &mut self,
        lengths: [usize; 2],
        known: [Option<&TenantId>; 2],
    ) -> Result<Option<&[Symbol]>, Spent> {
        self.ids.reset(lengths, known);
        self.common.clear();
        let found = self.walk(0, [Cursor::default(); 2])?;
        Ok(found.then_some(&*self.common))
    }

    fn walk(&mut self, mut index: usize, mut at: [Cursor; 2]) -> Result<bool, Spent> {
        const SIDES: [Side; 2] = [Side::Left, Side::Right];
        loop {
            self.budget.spend()?;
            let Some(pair) = self.pairs.get(index).copied() else {
                return Ok(self.ids.can_differ());
            };
            let [left, right] = pair.blocks;
            let [one, other] = at;
            let heads = [self.head(left, one, Side::Left), self.head(right, other, Side::Right)];
            let [left_open, right_open] = pair.open;
            match heads {
                [None, Some(_)] if !left_open => return Ok(false),
                [Some(_), None] if !right_open => return Ok(false),
                [None, None | Some(_)] | [Some(_), None] => {
                    self.rest(left, one, Side::Left);
                    self.rest(right, other, Side::Right);
                    (index, at) = (index + 1, [Cursor::default(); 2]);
                }
                [Some(Symbol::Unchosen), _] => {
                    let most = remaining(right, other, self.ids.length(Side::Right));
                    return self.choose(most, |chosen| [Cursor { chosen, ..one }, other], index);
                }
                [_, Some(Symbol::Unchosen)] => {
                    let most = remaining(left, one, self.ids.length(Side::Left));
                    return self.choose(most, |chosen| [one, Cursor { chosen, ..other }], index);
                }
                [Some(one), Some(other)] => {
                    let Some(common) = self.unify(one, other) else { return Ok(false) };
                    self.common.push(common);
                    for ((cursor, block), side) in at.iter_mut().zip(pair.blocks).zip(SIDES) {
                        cursor.step(block, self.ids.length(side));
                    }
                }
            }
        }
    }

    /// Tries every length that the value can need: a character for each that the other side still
    /// has, where a value of the other side counts as one. Of two values that go along with each
    /// other for several characters, all but one can be left out of both.
    fn choose(
        &mut self,
        most: usize,
        cursors: impl Fn(Option<usize>) -> [Cursor; 2],
        index: usize,
    ) -> Result<bool, Spent> {
        for length in 1..=most.clamp(1, MAX_VALUE) {
            let (ids, common) = (self.ids.mark(), self.common.len());
            if self.walk(index, cursors(Some(length)))? {
                return Ok(true);
            }
            self.ids.take_back(ids);
            self.common.truncate(common);
        }
        Ok(false)
    }

    fn head(&self, block: &[Atom], at: Cursor, side: Side) -> Option<Symbol> {
        Some(match block.get(at.atom)? {
            Atom::Literal(text) => Symbol::Byte(*text.get(at.behind)?),
            Atom::Tenant => Symbol::Of(self.ids.place(side, at.behind)),
            Atom::Value if at.chosen.is_some() => Symbol::Any,
            Atom::Value => Symbol::Unchosen,
        })
    }

    /// What both symbols can be at once. SECURITY: the heart of it; each arm refuses only what
    /// really cannot be.
    fn unify(&mut self, one: Symbol, other: Symbol) -> Option<Symbol> {
        let possible = match (one, other) {
            (Symbol::Byte(one), Symbol::Byte(other)) => one == other,
            (Symbol::Of(place), Symbol::Byte(byte)) | (Symbol::Byte(byte), Symbol::Of(place)) => {
                self.ids.is(place, byte)
            }
            (Symbol::Of(one), Symbol::Of(other)) => self.ids.same(one, other),
            (Symbol::Byte(byte), _) | (_, Symbol::Byte(byte)) => is_value_byte(byte),
            // Whatever a tenant id holds, a value may hold.
            _ => true,
        };
        let definite = |symbol| matches!(symbol, Symbol::Byte(_) | Symbol::Of(_));
        possible.then_some(match one {
            Symbol::Byte(_) => one,
            Symbol::Of(_) if !matches!(other, Symbol::Byte(_)) => one,
            _ if definite(other) => other,
            _ => one,
        })
    }

    /// Takes what is left of a block as it stands.
    fn rest(&mut self, block: &[Atom], mut at: Cursor, side: Side) {
        while let Some(symbol) = self.head(block, at, side) {
            if matches!(symbol, Symbol::Unchosen) {
                at.chosen = Some(1);
            }
            self.common.push(if matches!(symbol, Symbol::Unchosen) { Symbol::Any } else { symbol });
            at.step(block, self.ids.length(side));
        }
    }
}

impl Cursor {
    /// One character further.
    fn step(&mut self, block: &[Atom], tenant: usize) {
        let length = match block.get(self.atom) {
            Some(Atom::Literal(text)) => text.len(),
            Some(Atom::Tenant) => tenant,
            Some(Atom::Value) => self.chosen.unwrap_or(1),
            None => return,
        };
        self.behind += 1;
        if self.behind >= length {
            *self = Self { atom: self.atom + 1, behind: 0, chosen: None };
        }
    }
}

/// How many characters are still to come; a value whose length is not chosen counts as one.
fn remaining(block: &[Atom], at: Cursor, tenant: usize) -> usize {
    let ahead = block.get(at.atom..).unwrap_or_default();
    let length = |(index, atom): (usize, &Atom)| match atom {
        Atom::Literal(text) => text.len(),
        Atom::Tenant => tenant,
        Atom::Value if index == 0 => at.chosen.unwrap_or(1),
        Atom::Value => 1,
    };
    let total: usize = ahead.iter().enumerate().map(length).sum();
    total - at.behind
}

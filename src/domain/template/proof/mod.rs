//! The boundary proof: no two different tenants can ever hold permissions that match the same thing.
//!
//! `boundary` looks at one permission and asks whether its form keeps tenants apart from each other.
//! That is not enough: `{{tenant.id}}-events` does, and so does `{{tenant.id}}-b-events`, and yet the
//! first for `a-b` is the second for `a`. So this looks at every *pair* of permissions in all
//! published templates, of the same role or not, and either shows that they cannot meet or says
//! for which two tenants, and where.
//!
//! # What is asked
//!
//! P, rendered for tenant A, and Q, rendered for another tenant B, are of one resource type. An action
//! acts on the level of one selector and on all below it. So P reaches as far up as the widest level
//! that any action of its role acts at, and below that level its selectors count for nothing; this is
//! the view of `boundary::fault`, too. P and Q *meet* if on every level down to the wider of both, their
//! selectors can match a common text. One level on which they cannot is enough to keep them apart.
//!
//! A template of all tenants is rendered for any A, also for `platform`, whose data is its own like
//! everybody's. A tenant's override is rendered for that tenant only. A template for all counts for a
//! tenant with an override as well, for the override may be taken away.
//!
//! # How it is answered
//!
//! 1. *Cut.* A tenant id or a value cannot hold a delimiter. So the delimiters of a rendered text are
//!    those of its literals, in their order: two texts are equal only if the delimiters are the same
//!    and the blocks between them are equal, one by one. A prefix matches a text if this holds as far
//!    as it goes, and its last block may end within the other's.
//! 2. *Line up.* Fix the lengths of A and B: there are 63 × 63. A block of literals and tenants
//!    then has known characters at known places, the characters of A and of B being the unknowns.
//!    Equality says of each place: this literal's character is that one, this character of A is `x`,
//!    this one of A is that one of B. Unknowns that must be equal form a class, and a class has the
//!    characters left to it that a tenant id can hold there and that no literal has ruled out. All is
//!    satisfiable if and only if every class has a character left: choosing one for each
//!    solves it. All levels are put together, since A is the same on all.
//! 3. *Differ.* A = B would be no meeting. They can differ if their lengths do, or if at some place
//!    the characters are in two classes that are not both down to the same single character.
//! 4. *Values.* Any other value is 1 to 128 characters of its own, each chosen freely. What they are
//!    is settled by what stands opposite; only the lengths are open, and all lengths that can matter
//!    are tried. Where two values go along with each other for several characters, all but one can be
//!    left out of both, so none needs to be longer than what stands opposite, values counted as one.
//!
//! Blocks without a tenant depend on nothing else and are settled once. Blocks around the same
//! tenant and the same literals say A = B at once, which is how a separating form is kept apart from
//! itself, whatever the rest.
//!
//! # How exact it is
//!
//! Each step is an equivalence, so what is said of two forms is exact, for those of `permission::Form`
//! and for any other. It is careful, never careless, in what it takes a template to be: `$if` is taken to
//! hold, a value to be anything that a selector takes, and twice the same value to be two. Forms with many
//! values in one block could take for ever, so the steps are counted, and what is not decided
//! within them is refused. No example is given that has not been checked by matching it.
//!
//! Permissions that differ only in names of values are one form. Forms that begin alike, up to the delimiter
//! after the tenant, are first asked about as one: as a rule nothing more needs to be known, so the cost
//! grows with the beginnings that there are, not with templates or tenants. Overrides of the same form
//! are first asked about as if they were for all, and one by one only if those could meet.
//!
//! Types of kind `Shared` are left out: all tenants see the same there, and a template that a tenant
//! can have holds only the safe actions. So are templates that may cross tenants: they are not given.

mod equation;
mod ids;
mod meeting;
mod shape;

pub use self::meeting::Meeting;
pub use self::meeting::Side;
pub use self::meeting::Undecided;
pub use self::meeting::Unproved;

use self::equation::Budget;
use self::equation::Equation;
use self::equation::MAX_TENANT;
use self::equation::Spent;
use self::equation::common_text;
use self::meeting::can_match;
use self::meeting::level_to_mend;
use self::meeting::mended;
use self::shape::Shape;
use crate::domain::ids::TenantId;
use crate::domain::permission::Kind;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::check_text;
use crate::domain::permission::is_delimiter;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Sketch;
use crate::domain::template::render::RoleTemplate;
use serde::Serialize;
use std::collections::BTreeMap;

/// Of beginnings, each of which is compared with each.
const MAX_FORMS: usize = 4096;
/// Of forms of one beginning, and of two that could meet, each is compared with each.
const MAX_PAIRS: usize = 16 << 20;
/// A step is a character compared or a length tried: a few seconds in all.
const MAX_STEPS: u64 = 1 << 28;
/// For a suggestion, which is left out if it takes longer.
const FIX_STEPS: u64 = 1 << 20;

/// A published template and whom it is rendered for.
#[derive(Clone, Copy, Debug)]
pub struct Subjected<'a> {
    /// With its version, as people know it: `data-entry@3`.
    pub name: &'a str,
    /// Of an override, the only tenant that uses it.
    pub tenant: Option<&'a TenantId>,
    pub template: &'a RoleTemplate,
}

/// No two different tenants can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Proof {
    pub templates: usize,
    /// The different forms of permissions among them.
    pub forms: usize,
    /// The pairs of forms that were looked at.
    pub pairs: usize,
}

/// Proves that no two tenants meet under these templates, which are all that are published and may not
/// cross tenants.
pub fn prove(templates: &[Subjected<'_>], v: &Vocabulary) -> Result<Proof, Unproved> {
    prove_within(templates, v, MAX_STEPS)
}

fn prove_within(
    templates: &[Subjected<'_>],
    v: &Vocabulary,
    steps: u64,
) -> Result<Proof, Unproved> {
    let written: Vec<Written<'_>> =
        templates.iter().enumerate().flat_map(Written::all_of).collect();
    let types = group(&written, v);
    let forms = types.values().map(BTreeMap::len).sum();
    let types: Vec<_> = types.values().map(gather_by_beginning).collect();
    let beginnings = types.iter().map(BTreeMap::len).sum();
    if beginnings > MAX_FORMS {
        return Err(Unproved::TooManyForms { forms: beginnings, most: MAX_FORMS });
    }
    let lengths = lengths();
    let mut prover = Prover { lengths: &lengths, budget: Budget(steps), pairs: 0 };
    for beginnings in &types {
        for (index, (left, ours)) in beginnings.iter().enumerate() {
            for (right, theirs) in beginnings.iter().skip(index) {
                prover.keep_beginnings_apart([left, right], [ours, theirs])?;
            }
        }
    }
    Ok(Proof { templates: templates.len(), forms, pairs: prover.pairs })
}

/// A permission in its template.
struct Written<'a> {
    /// How many templates were given before its own.
    order: usize,
    template: Subjected<'a>,
    outline: Outline,
}

impl<'a> Written<'a> {
    fn all_of((order, template): (usize, &Subjected<'a>)) -> impl Iterator<Item = Self> + use<'a> {
        let template = *template;
        let outlines = template.template.outline().into_iter();
        outlines.map(move |outline| Self { order, template, outline })
    }

    /// The selectors that count, from the widest to that at the widest level that an action acts
    /// on; `None` where tenants need not be kept apart.
    fn form(&self, v: &Vocabulary) -> Option<Vec<Shape>> {
        let resource = v.find(self.outline.resource.name()).unwrap_or(&self.outline.resource);
        if resource.kind() == Kind::Shared {
            return None;
        }
        // SECURITY: what the role of a permission may do must be known to leave selectors out.
        let widest = resource.role(&self.outline.role).and_then(|role| {
            let acts =
                |level: &usize| !role.actions.and(resource.actions_acting_at(*level)).is_empty();
            (0..resource.selectors().len()).find(acts)
        });
        let selectors = self.outline.selectors.iter().take(widest.unwrap_or(0) + 1);
        Some(selectors.map(Shape::from).collect())
    }
}

/// Who holds permissions of a form, each by the first that is written so.
enum Holders<'a> {
    Everyone(&'a Written<'a>),
    /// Only by overrides.
    Some(BTreeMap<&'a TenantId, &'a Written<'a>>),
}

impl<'a> Holders<'a> {
    fn add(&mut self, written: &'a Written<'a>) {
        match (self, written.template.tenant) {
            (Self::Everyone(_), _) => {}
            (Self::Some(tenants), Some(tenant)) => {
                tenants.entry(tenant).or_insert(written);
            }
            (holders @ Self::Some(_), None) => *holders = Self::Everyone(written),
        }
    }
    /// Whether nobody but one and the same tenant holds both.
    fn are_one_tenants(&self, others: &Self) -> bool {
        let (Self::Some(ours), Self::Some(theirs)) = (self, others) else { return false };
        ours.len() == 1 && theirs.len() == 1 && ours.keys().eq(theirs.keys())
    }
    /// Each with its tenant, where only that one holds it.
    fn each(&self) -> Vec<(Option<&'a TenantId>, &'a Written<'a>)> {
        match self {
            Self::Everyone(written) => vec![(None, *written)],
            Self::Some(tenants) => tenants.iter().map(|(id, at)| (Some(*id), *at)).collect(),
        }
    }
}

/// The forms of one resource type.
type Forms<'a> = BTreeMap<Vec<Shape>, Holders<'a>>;

fn group<'a>(written: &'a [Written<'a>], v: &Vocabulary) -> BTreeMap<&'a str, Forms<'a>> {
    let mut types: BTreeMap<&str, Forms<'_>> = BTreeMap::new();
    for permission in written {
        if let Some(form) = permission.form(v) {
            let forms = types.entry(permission.outline.resource.name()).or_default();
            let holders = forms.entry(form).or_insert_with(|| Holders::Some(BTreeMap::new()));
            holders.add(permission);
        }
    }
    types
}

/// Forms of one beginning, with whoever holds them.
type Alike<'a> = Vec<(&'a [Shape], &'a Holders<'a>)>;

/// As many different literals may stand after the tenant as there are permissions: what keeps tenants apart
/// is in the beginning, of which there are few.
fn gather_by_beginning<'a>(forms: &'a Forms<'a>) -> BTreeMap<Vec<Shape>, Alike<'a>> {
    let mut gathered: BTreeMap<Vec<Shape>, Alike<'_>> = BTreeMap::new();
    for (form, holders) in forms {
        gathered.entry(beginning(form)).or_default().push((form, holders));
    }
    gathered
}

/// A form that matches all that this one matches, and perhaps more: it ends, as a prefix, with the first
/// block that holds the tenant and no value, if a delimiter follows; what is below counts for nothing. A
/// form without such a block is its own beginning.
fn beginning(form: &[Shape]) -> Vec<Shape> {
    let cut = form.iter().enumerate().find_map(|(level, shape)| Some((level, shape.beginning()?)));
    let Some((level, shape)) = cut else { return form.to_vec() };
    form.iter().take(level).cloned().chain([shape]).collect()
}

/// The lengths of two tenant ids, those of `acme` and `acme-corp` and the like first.
fn lengths() -> Vec<[usize; 2]> {
    let ids = 1..=MAX_TENANT;
    let mut all: Vec<_> =
        ids.clone().flat_map(|one| ids.clone().map(move |two| [one, two])).collect();
    all.sort_by_key(|[one, two]| {
        let (shorter, longer) = (one.min(two), one.max(two));
        (shorter.abs_diff(4), *longer != 9, *longer, *one)
    });
    all
}

struct Prover<'a> {
    lengths: &'a [[usize; 2]],
    budget: Budget,
    /// How many were compared.
    pairs: usize,
}

impl Prover<'_> {
    /// Two tenants for whom selectors of these shapes meet.
    fn meet(
        &mut self,
        [left, right]: [&[Shape]; 2],
        known: [Option<&TenantId>; 2],
    ) -> Result<Option<[TenantId; 2]>, Spent> {
        match Equation::between(left, right, &mut self.budget)? {
            Some(equation) => equation.solve(known, self.lengths, &mut self.budget),
            None => Ok(None),
        }
    }

    /// Where the beginnings cannot meet, no two forms of them can.
    fn keep_beginnings_apart(
        &mut self,
        beginnings: [&[Shape]; 2],
        [ours, theirs]: [&Alike<'_>; 2],
    ) -> Result<(), Unproved> {
        self.pairs = self.pairs.saturating_add(1);
        if let Ok(None) = self.meet(beginnings, [None, None]) {
            return Ok(());
        }
        let same = std::ptr::eq(ours, theirs);
        for (index, (left, holders)) in ours.iter().enumerate() {
            for (right, others) in theirs.iter().skip(if same { index } else { 0 }) {
                self.pairs = self.pairs.saturating_add(1);
                if self.pairs > MAX_PAIRS {
                    let forms = ours.len().saturating_add(theirs.len());
                    return Err(Unproved::TooManyForms { forms, most: MAX_FORMS });
                }
                self.keep_apart([left, right], [holders, others])?;
            }
        }
        Ok(())
    }

    fn keep_apart(
        &mut self,
        forms: [&[Shape]; 2],
        [holders, others]: [&Holders<'_>; 2],
    ) -> Result<(), Unproved> {
        if holders.are_one_tenants(others) {
            return Ok(());
        }
        // Asked of all tenants first: as a rule this settles overrides, however many hold the form.
        if let Ok(None) = self.meet(forms, [None, None]) {
            return Ok(());
        }
        for (tenant, left) in holders.each() {
            for (other, right) in others.each() {
                if tenant.is_some() && tenant == other {
                    continue;
                }
                // As they were given, which is how people think of them.
                let (mut written, mut forms, mut known) = ([left, right], forms, [tenant, other]);
                if left.order > right.order {
                    written.reverse();
                    forms.reverse();
                    known.reverse();
                }
                match self.meet(forms, known) {
                    Ok(None) => {}
                    Ok(Some(tenants)) => return Err(tell(written, forms, tenants, self.lengths)),
                    Err(Spent) => return Err(undecided(written)),
                }
            }
        }
        Ok(())
    }
}

fn sides(written: [&Written<'_>; 2], level: usize) -> [Side; 2] {
    written.map(|written| Side::new(written.template.name, &written.outline, level))
}

fn undecided(written: [&Written<'_>; 2]) -> Unproved {
    let [left, right] = written.map(|written| &written.outline);
    Unproved::Undecided(Box::new(Undecided {
        resource_type: left.resource.name().to_owned(),
        sides: sides(written, level_to_mend([&left.selectors, &right.selectors])),
        fix: BEGIN.into(),
    }))
}

const BEGIN: &str = "begin both with `{{tenant.id}}:`";

/// The example, if it stands up to being matched by other means.
fn tell(
    written: [&Written<'_>; 2],
    forms: [&[Shape]; 2],
    tenants: [TenantId; 2],
    lengths: &[[usize; 2]],
) -> Unproved {
    let [left, right] = written.map(|written| &written.outline);
    let [ours, theirs] = &tenants;
    let levels = forms.map(<[_]>::len).into_iter().min().unwrap_or(0);
    let selectors = left.selectors.iter().zip(&right.selectors).take(levels);
    let resource = left.resource.selectors().zip(selectors).map(|(key, (one, other))| {
        let text = example([one, other], &tenants)?;
        let good = can_match(one, ours, &text) && can_match(other, theirs, &text);
        (good && check_text(&text).is_ok()).then(|| (key.to_owned(), text))
    });
    let resource: Option<Vec<_>> = resource.collect();
    let Some(resource) = resource.filter(|_| ours != theirs) else { return undecided(written) };
    let level = level_to_mend(
        [left, right].map(|outline| outline.selectors.get(..levels).unwrap_or_default()),
    );
    let fix = fix(written, forms, level, lengths).unwrap_or_else(|| BEGIN.to_owned());
    Unproved::Meeting(Box::new(Meeting {
        resource_type: left.resource.name().to_owned(),
        resource,
        sides: sides(written, level),
        fix,
        tenants,
    }))
}

/// A text that both selectors match. Where it may go on, it does, so as to look like a text.
fn example(sketches: [&Sketch; 2], tenants: &[TenantId; 2]) -> Option<String> {
    let [one, other] = sketches.map(Shape::from);
    let mut budget = Budget(FIX_STEPS);
    let mut text = common_text([&one, &other], tenants, &mut budget)?;
    let exact = |sketch: &Sketch| matches!(sketch, Sketch::Text { prefix: false, .. });
    if !sketches.into_iter().any(exact) {
        text.push_str(if text.is_empty() || text.ends_with(is_delimiter) { "7" } else { ":7" });
    }
    Some(text)
}

/// A sentence with what to write at this level, tried beforehand.
fn fix(
    written: [&Written<'_>; 2],
    forms: [&[Shape]; 2],
    level: usize,
    lengths: &[[usize; 2]],
) -> Option<String> {
    let mut prover = Prover { lengths, budget: Budget(FIX_STEPS), pairs: 0 };
    let mut apart = |left: &[Shape], right: &[Shape]| {
        matches!(prover.meet([left, right], [None, None]), Ok(None))
    };
    let changed = |side: usize, in_front: bool| {
        let sketch = mended(written.get(side)?.outline.selectors.get(level)?, in_front);
        let mut form = forms.get(side)?.to_vec();
        *form.get_mut(level)? = Shape::from(&sketch);
        Some((sketch.shown(), form))
    };
    let [left, right] = forms;
    if std::ptr::eq(left, right) {
        for in_front in [false, true] {
            let (shown, form) = changed(0, in_front)?;
            if apart(&form, &form) {
                return Some(format!("write `{shown}`"));
            }
        }
        return None;
    }
    for (side, other) in [(1, left), (0, right)] {
        for in_front in [false, true] {
            let (shown, form) = changed(side, in_front)?;
            if apart(&form, other) && apart(&form, &form) {
                let [one, other] = sides(written, level);
                let side = if side == 0 { one } else { other };
                return Some(format!("write `{shown}` in `{}` ({})", side.template, side.at));
            }
        }
    }
    let ((one, form), (two, other)) = (changed(0, true)?, changed(1, true)?);
    apart(&form, &other).then(|| format!("write `{one}` in the one and `{two}` in the other"))
}

#[cfg(test)]
mod brute_force_tests;
#[cfg(test)]
mod tests;

//! Owns the decision: keep (on which basis, with which identity) or refuse (why). One pure function.
//!
//! Promises, for every input: an opt-out beats every consent; a denial beats a grant; what is
//! malformed never grants; a child is never kept; an unknown place is the strictest place; only the
//! site's contract loosens, and never below the law of the place. Never sees an address, a cookie
//! or a user agent: only what was found in them.

use super::cookies::Remembered;
use super::regime::Law;
use crate::hit::draft::{Once, Relayed};
use crate::hit::field::{ConsentMode, ConsentSource, GpcMode, IdentityMode, LegalBasis, Regime, ServerBasis, WithoutConsent};
use crate::hit::outcome::Reason;
use crate::hit::raw::HeaderSignals;
use crate::hit::site::Site;

/// All that was found on a hit of a known site.
#[derive(Debug, Clone, Copy)]
pub struct Signals {
    pub unreadable: bool,
    pub headers: HeaderSignals,
    pub child: bool,
    /// By a cookie, or by an objection under this id.
    pub opted_out: bool,
    /// The visitor was erased, or is restricted, under one of the ids of this hit.
    pub erased: bool,
    pub restricted: bool,
    /// The sender's page is not among the site's origins.
    pub wrong_origin: bool,
    pub over_quota: bool,
    pub too_old: bool,
    pub cookies_unreadable: bool,
    pub remembered: Remembered,
    pub relayed: Once<Relayed>,
    /// The sender says that the law asks for consent first, wherever the visitor is.
    pub gdpr_applies: bool,
    pub tcf: StringVerdict,
    pub gpp: StringVerdict,
    /// A US Privacy string or a US section of GPP opts out of sale, sharing or targeted advertising.
    pub us_opts_out: bool,
    pub anonymous: bool,
    /// Sent by the client's own server, which proved itself: no page, no browser, no terminal that is read.
    pub by_server: bool,
    pub law: Law,
}

impl Signals {
    /// Those of a hit that says nothing, from a place of this law.
    pub const fn quiet(law: Law) -> Self {
        Self {
            unreadable: false,
            headers: HeaderSignals { gpc: false, dnt: false, prefetch: false },
            child: false,
            opted_out: false,
            erased: false,
            restricted: false,
            wrong_origin: false,
            over_quota: false,
            too_old: false,
            cookies_unreadable: false,
            remembered: Remembered::Nothing,
            relayed: Once::Absent,
            gdpr_applies: false,
            tcf: StringVerdict::Absent,
            gpp: StringVerdict::Absent,
            us_opts_out: false,
            anonymous: false,
            by_server: false,
            law,
        }
    }
}

/// What a consent string says about this site's vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringVerdict {
    Absent,
    Grants,
    /// Says nothing about this vendor.
    Silent,
    Denies,
    /// Malformed, given twice, or of a kind that cannot be read.
    Unreadable,
}

/// What becomes of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    Keep(Grounds),
    Refuse(Reason),
}

/// On what ground a hit is kept: written into its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grounds {
    pub regime: Regime,
    pub basis: LegalBasis,
    pub source: ConsentSource,
    pub may_share: bool,
    /// The most by which the visitor may be told apart.
    pub identity: IdentityMode,
}

/// Decides. The first reason that applies, in the order of the ledger's list.
pub fn rule(site: &Site, signals: &Signals) -> Ruling {
    refusal_of_form(site, signals).map_or_else(|| rule_on_consent(site, signals), Ruling::Refuse)
}

/// The reasons that no consent outweighs.
fn refusal_of_form(site: &Site, signals: &Signals) -> Option<Reason> {
    [
        (signals.unreadable, Reason::BadRequest),
        (signals.headers.prefetch, Reason::Prefetch),
        (signals.child || site.child_directed, Reason::Child),
        (signals.opted_out, Reason::OptedOut),
        (signals.erased, Reason::ErasedSubject),
        (signals.restricted, Reason::RestrictedSubject),
        (signals.wrong_origin, Reason::WrongOrigin),
        (signals.over_quota, Reason::OverQuota),
        (signals.too_old, Reason::TooOld),
        (signals.headers.dnt && site.honour_dnt, Reason::Dnt),
    ]
    .into_iter()
    .find_map(|(applies, reason)| applies.then_some(reason))
}

fn rule_on_consent(site: &Site, signals: &Signals) -> Ruling {
    let regime = regime(site, signals);
    let choice = choice(site, signals);
    if signals.headers.gpc
        && regime == Regime::OptOut
        && site.gpc == GpcMode::Refuse
        && !matches!(choice, Choice::Granted(_))
    {
        return Ruling::Refuse(Reason::Gpc);
    }
    let (basis, source) = match (choice, regime) {
        (Choice::StringDenies, _) => return Ruling::Refuse(Reason::ConsentString),
        (Choice::StringUnreadable, Regime::OptIn) => return Ruling::Refuse(Reason::ConsentString),
        (Choice::Denied, _) => return Ruling::Refuse(Reason::NoConsent),
        (Choice::Granted(source), _) => (LegalBasis::Consent, source),
        (Choice::StringUnreadable | Choice::None, Regime::OptOut) => (LegalBasis::OptOutRegime, ConsentSource::None),
        (Choice::None, Regime::OptIn) if signals.by_server && site.server_basis == ServerBasis::Contract => (LegalBasis::Contract, ConsentSource::None),
        (Choice::None, Regime::OptIn) => match site.without_consent {
            WithoutConsent::Count => (LegalBasis::Count, ConsentSource::None),
            WithoutConsent::Nothing => return Ruling::Refuse(Reason::NoConsent),
        },
    };
    // Nor is a count, or what a contract with the person carries, kept against it: a stricter place, or a sender
    // who says that the place is one, would keep what a looser one refuses.
    if signals.headers.gpc && site.gpc == GpcMode::Refuse && basis != LegalBasis::Consent {
        return Ruling::Refuse(Reason::Gpc);
    }
    let anonymous = signals.anonymous || basis == LegalBasis::Count;
    Ruling::Keep(Grounds {
        regime,
        basis,
        source,
        may_share: !matches!(basis, LegalBasis::Count | LegalBasis::Contract) && !objects_to_sharing(signals),
        identity: if anonymous { IdentityMode::None } else { site.identity },
    })
}

/// The law of the place, which the sender may widen and never loosen.
fn regime(site: &Site, signals: &Signals) -> Regime {
    match site.consent {
        ConsentMode::OptIn => Regime::OptIn,
        ConsentMode::ByRegion if signals.gdpr_applies => Regime::OptIn,
        ConsentMode::ByRegion => signals.law.regime(site.gb_statistics),
    }
}

/// What all signals together say of the visitor's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    StringDenies,
    StringUnreadable,
    Denied,
    Granted(ConsentSource),
    None,
}

/// Denials first, wherever they come from; then the strongest proof of a grant.
fn choice(site: &Site, signals: &Signals) -> Choice {
    let strings = [signals.tcf, signals.gpp];
    if strings.contains(&StringVerdict::Denies) {
        return Choice::StringDenies;
    }
    if signals.cookies_unreadable || signals.remembered == Remembered::Denied || signals.relayed == Once::Given(Relayed::Denied) {
        return Choice::Denied;
    }
    if strings.contains(&StringVerdict::Unreadable) {
        return Choice::StringUnreadable;
    }
    if signals.relayed.is_malformed() {
        return Choice::None;
    }
    if signals.tcf == StringVerdict::Grants {
        return Choice::Granted(ConsentSource::Tcf);
    }
    if signals.gpp == StringVerdict::Grants {
        return Choice::Granted(ConsentSource::Gpp);
    }
    if signals.remembered == Remembered::Granted {
        return Choice::Granted(ConsentSource::Cookie);
    }
    if signals.relayed == Once::Given(Relayed::Granted) && site.relayed_consent {
        return Choice::Granted(ConsentSource::Relayed);
    }
    Choice::None
}

/// GPC (everywhere), a US Privacy opt-out, and any consent string that is not a clear grant or silence.
fn objects_to_sharing(signals: &Signals) -> bool {
    let objects = |verdict| match verdict {
        StringVerdict::Denies | StringVerdict::Unreadable => true,
        StringVerdict::Absent | StringVerdict::Grants | StringVerdict::Silent => false,
    };
    signals.headers.gpc
        || signals.us_opts_out
        || signals.relayed.is_malformed()
        || objects(signals.tcf)
        || objects(signals.gpp)
}

#[cfg(test)]
mod tests {
    use super::{Grounds, Ruling, Signals, StringVerdict, rule};
    use crate::hit::draft::{Once, Relayed};
    use crate::hit::field::{ConsentMode, ConsentSource, GpcMode, IdentityMode, LegalBasis, Regime, ServerBasis, WithoutConsent};
    use crate::hit::outcome::Reason;
    use crate::hit::raw::HeaderSignals;
    use crate::hit::site::Site;
    use crate::rules::cookies::Remembered;
    use crate::rules::regime::Law;
    use proptest::prelude::*;

    fn site() -> Site {
        Site::sample()
    }

    type Turn = fn(&mut Signals);

    #[test]
    fn refusals_in_their_order() {
        let worst_first: [(Turn, Reason); 12] = [
            (|s| s.unreadable = true, Reason::BadRequest),
            (|s| s.headers.prefetch = true, Reason::Prefetch),
            (|s| s.child = true, Reason::Child),
            (|s| s.opted_out = true, Reason::OptedOut),
            (|s| s.erased = true, Reason::ErasedSubject),
            (|s| s.restricted = true, Reason::RestrictedSubject),
            (|s| s.wrong_origin = true, Reason::WrongOrigin),
            (|s| s.over_quota = true, Reason::OverQuota),
            (|s| s.too_old = true, Reason::TooOld),
            (|s| s.headers.dnt = true, Reason::Dnt),
            (|s| s.tcf = StringVerdict::Denies, Reason::ConsentString),
            (|s| s.relayed = Once::Given(Relayed::Denied), Reason::NoConsent),
        ];
        for law in [Law::OptIn, Law::OptOut] {
            let mut signals = Signals::quiet(law);
            for (turn, reason) in worst_first.into_iter().rev() {
                turn(&mut signals);
                assert_eq!(rule(&site(), &signals), Ruling::Refuse(reason));
            }
        }
    }

    #[test]
    fn keeps_and_their_grounds() {
        let grounds = |regime, basis, source, may_share, identity| Grounds { regime, basis, source, may_share, identity };
        let cases: [(&str, Law, Turn, Grounds); 6] = [
            ("US, nothing said", Law::OptOut, |_| {}, grounds(Regime::OptOut, LegalBasis::OptOutRegime, ConsentSource::None, true, IdentityMode::Cookie)),
            ("US with GPC", Law::OptOut, |s| s.headers.gpc = true, grounds(Regime::OptOut, LegalBasis::OptOutRegime, ConsentSource::None, false, IdentityMode::Cookie)),
            ("US, sale opted out", Law::OptOut, |s| s.us_opts_out = true, grounds(Regime::OptOut, LegalBasis::OptOutRegime, ConsentSource::None, false, IdentityMode::Cookie)),
            ("FR, cookie", Law::OptIn, |s| s.remembered = Remembered::Granted, grounds(Regime::OptIn, LegalBasis::Consent, ConsentSource::Cookie, true, IdentityMode::Cookie)),
            ("FR, relayed, anonymous", Law::OptIn, |s| { s.relayed = Once::Given(Relayed::Granted); s.anonymous = true; }, grounds(Regime::OptIn, LegalBasis::Consent, ConsentSource::Relayed, true, IdentityMode::None)),
            ("FR, relayed beside GPC", Law::OptIn, |s| { s.relayed = Once::Given(Relayed::Granted); s.headers.gpc = true; }, grounds(Regime::OptIn, LegalBasis::Consent, ConsentSource::Relayed, false, IdentityMode::Cookie)),
        ];
        for (name, law, turn, expected) in cases {
            let mut signals = Signals::quiet(law);
            turn(&mut signals);
            assert_eq!(rule(&site(), &signals), Ruling::Keep(expected), "{name}");
        }
        assert_eq!(rule(&site(), &Signals::quiet(Law::OptIn)), Ruling::Refuse(Reason::NoConsent));
    }

    #[test]
    fn the_contract_acts_within_the_law() {
        let count = Site { without_consent: WithoutConsent::Count, ..site() };
        let Ruling::Keep(grounds) = rule(&count, &Signals::quiet(Law::OptIn)) else { panic!() };
        assert_eq!((grounds.basis, grounds.identity, grounds.may_share), (LegalBasis::Count, IdentityMode::None, false));
        let refuse = Site { gpc: GpcMode::Refuse, ..site() };
        let mut signals = Signals::quiet(Law::OptOut);
        signals.headers.gpc = true;
        assert_eq!(rule(&refuse, &signals), Ruling::Refuse(Reason::Gpc));
        signals.relayed = Once::Given(Relayed::Granted);
        assert!(matches!(rule(&refuse, &signals), Ruling::Keep(Grounds { may_share: false, .. })));
        // Neither the place nor a sender's `gdpr=1` makes a count of what GPC refuses.
        let both = Site { gpc: GpcMode::Refuse, without_consent: WithoutConsent::Count, ..site() };
        for (law, gdpr_applies) in [(Law::OptOut, false), (Law::OptOut, true), (Law::OptIn, false)] {
            let mut signals = Signals { gdpr_applies, ..Signals::quiet(law) };
            signals.headers.gpc = true;
            assert_eq!(rule(&both, &signals), Ruling::Refuse(Reason::Gpc), "{law:?} {gdpr_applies}");
        }
        let statistics = Site { gb_statistics: true, ..site() };
        assert!(matches!(rule(&statistics, &Signals::quiet(Law::OptInButStatistics)), Ruling::Keep(_)));
        assert!(matches!(rule(&statistics, &Signals::quiet(Law::OptIn)), Ruling::Refuse(_)));
        let contract = Site { server_basis: ServerBasis::Contract, ..site() };
        assert_eq!(rule(&contract, &Signals::quiet(Law::OptIn)), Ruling::Refuse(Reason::NoConsent));
        let mut call = Signals { by_server: true, ..Signals::quiet(Law::OptIn) };
        assert!(matches!(rule(&contract, &call), Ruling::Keep(Grounds { basis: LegalBasis::Contract, may_share: false, .. })));
        assert_eq!(rule(&site(), &call), Ruling::Refuse(Reason::NoConsent));
        call.relayed = Once::Given(Relayed::Denied);
        assert_eq!(rule(&contract, &call), Ruling::Refuse(Reason::NoConsent));
        let strict = Site { consent: ConsentMode::OptIn, ..site() };
        assert_eq!(rule(&strict, &Signals::quiet(Law::OptOut)), Ruling::Refuse(Reason::NoConsent));
    }

    fn any_verdict() -> impl Strategy<Value = StringVerdict> {
        prop_oneof![
            3 => Just(StringVerdict::Absent),
            1 => Just(StringVerdict::Grants),
            1 => Just(StringVerdict::Silent),
            1 => Just(StringVerdict::Denies),
            1 => Just(StringVerdict::Unreadable),
        ]
    }

    fn any_once<T: Copy + std::fmt::Debug + 'static>(first: T, second: T) -> impl Strategy<Value = Once<T>> {
        prop_oneof![Just(Once::Absent), Just(Once::Given(first)), Just(Once::Given(second)), Just(Once::Malformed)]
    }

    fn any_law() -> impl Strategy<Value = Law> {
        prop_oneof![Just(Law::OptIn), Just(Law::OptInButStatistics), Just(Law::OptOut)]
    }

    /// Every signal that takes something away, or asks for more, added to what is said already.
    const DENIALS: [Turn; 21] = [
        |s| s.unreadable = true,
        |s| s.headers.prefetch = true,
        |s| s.child = true,
        |s| s.opted_out = true,
        |s| s.erased = true,
        |s| s.restricted = true,
        |s| s.wrong_origin = true,
        |s| s.over_quota = true,
        |s| s.too_old = true,
        |s| s.headers.dnt = true,
        |s| s.headers.gpc = true,
        |s| s.us_opts_out = true,
        |s| s.cookies_unreadable = true,
        |s| s.remembered = Remembered::Denied,
        |s| s.relayed = Once::Given(Relayed::Denied),
        |s| s.tcf = StringVerdict::Denies,
        |s| s.gpp = StringVerdict::Denies,
        |s| if s.tcf != StringVerdict::Denies { s.tcf = StringVerdict::Unreadable },
        |s| if s.gpp != StringVerdict::Denies { s.gpp = StringVerdict::Unreadable },
        |s| s.gdpr_applies = true,
        |s| s.anonymous = true,
    ];

    fn any_signals() -> impl Strategy<Value = Signals> {
        let law = any_law();
        let remembered = prop_oneof![Just(Remembered::Nothing), Just(Remembered::Granted), Just(Remembered::Denied)];
        let rare = || proptest::bool::weighted(0.05);
        (
            (rare(), rare(), rare(), rare(), rare(), rare(), rare(), rare(), rare()),
            (rare(), rare()),
            any::<[bool; 4]>(),
            (remembered, any_once(Relayed::Granted, Relayed::Denied), any::<bool>(), any_verdict(), any_verdict(), law),
        )
            .prop_map(|((unreadable, prefetch, child, opted_out, wrong_origin, over_quota, too_old, cookies_unreadable, dnt), (erased, restricted), [gpc, us, anonymous, by_server], (remembered, relayed, gdpr_applies, tcf, gpp, law))| Signals {
                unreadable,
                headers: HeaderSignals { gpc, dnt, prefetch },
                child,
                opted_out,
                erased,
                restricted,
                wrong_origin,
                over_quota,
                too_old,
                cookies_unreadable,
                remembered,
                relayed,
                gdpr_applies,
                tcf,
                gpp,
                us_opts_out: us,
                anonymous,
                by_server,
                law,
            })
    }

    fn any_site() -> impl Strategy<Value = Site> {
        let identity = prop_oneof![Just(IdentityMode::Cookie), Just(IdentityMode::Daily), Just(IdentityMode::None)];
        (any::<[bool; 8]>(), identity).prop_map(|([opt_in, gb, refuse, count, relayed, dnt, child, contract], identity)| Site {
            identity,
            server_basis: if contract { ServerBasis::Contract } else { ServerBasis::Consent },
            consent: if opt_in { ConsentMode::OptIn } else { ConsentMode::ByRegion },
            gb_statistics: gb,
            gpc: if refuse { GpcMode::Refuse } else { GpcMode::BarSharing },
            without_consent: if count { WithoutConsent::Count } else { WithoutConsent::Nothing },
            relayed_consent: relayed,
            honour_dnt: dnt,
            child_directed: child && dnt,
            ..site()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_opt_out_and_a_child_beat_everything(site in any_site(), signals in any_signals(), child: bool) {
            let mut signals = signals;
            if child { signals.child = true } else { signals.opted_out = true }
            prop_assert!(matches!(rule(&site, &signals), Ruling::Refuse(_)));
        }

        #[test]
        fn an_erased_or_restricted_subject_is_never_kept(site in any_site(), signals in any_signals(), erased: bool) {
            let mut signals = signals;
            if erased { signals.erased = true } else { signals.restricted = true }
            let Ruling::Refuse(reason) = rule(&site, &signals) else { panic!("kept") };
            let most = if erased { Reason::ErasedSubject } else { Reason::RestrictedSubject };
            prop_assert!(reason <= most, "{reason:?} stands behind {most:?} in the list");
        }

        #[test]
        fn a_denial_never_turns_refuse_into_keep(site in any_site(), signals in any_signals(), which in 0..DENIALS.len()) {
            let before = rule(&site, &signals);
            let mut denied = signals;
            DENIALS[which](&mut denied);
            let after = rule(&site, &denied);
            if matches!(before, Ruling::Refuse(_)) { prop_assert!(matches!(after, Ruling::Refuse(_))); }
            if let (Ruling::Keep(before), Ruling::Keep(after)) = (before, after) {
                prop_assert!(before.may_share || !after.may_share);
                prop_assert!(before.identity == after.identity || after.identity == IdentityMode::None);
                prop_assert!(before.regime == after.regime || after.regime == Regime::OptIn);
            }
        }

        #[test]
        fn a_stricter_place_never_keeps_what_a_looser_one_refuses(site in any_site(), signals in any_signals(), law in any_law()) {
            let looser = Signals { law: signals.law.min(law), ..signals };
            let stricter = Signals { law: signals.law.max(law), ..signals };
            if matches!(rule(&site, &looser), Ruling::Refuse(_)) { prop_assert!(matches!(rule(&site, &stricter), Ruling::Refuse(_))); }
        }

        #[test]
        fn what_is_malformed_never_grants(site in any_site(), signals in any_signals(), which in 0..4) {
            let mut bare = signals;
            bare.remembered = Remembered::Nothing;
            bare.relayed = Once::Absent;
            bare.tcf = StringVerdict::Absent;
            bare.gpp = StringVerdict::Absent;
            let mut malformed = bare;
            match which {
                0 => malformed.relayed = Once::Malformed,
                1 => malformed.tcf = StringVerdict::Unreadable,
                2 => malformed.gpp = StringVerdict::Unreadable,
                _ => malformed.cookies_unreadable = true,
            }
            if matches!(rule(&site, &bare), Ruling::Refuse(_)) {
                prop_assert!(matches!(rule(&site, &malformed), Ruling::Refuse(_)));
            }
            let consented = matches!(rule(&site, &malformed), Ruling::Keep(Grounds { basis: LegalBasis::Consent, .. }));
            prop_assert!(!consented);
        }

        #[test]
        fn a_contract_never_loosens_the_law(site in any_site(), signals in any_signals()) {
            let Ruling::Keep(grounds) = rule(&site, &signals) else { return Ok(()) };
            let asks_for_consent = match signals.law {
                Law::OptIn => true,
                Law::OptInButStatistics => signals.gdpr_applies || !site.gb_statistics,
                Law::OptOut => signals.gdpr_applies,
            };
            if asks_for_consent {
                prop_assert_eq!(grounds.regime, Regime::OptIn);
                let is_count = grounds.basis == LegalBasis::Count && grounds.identity == IdentityMode::None;
                // Nothing of a terminal is read for a server's event: the client's contract with the person may carry it.
                let by_contract = grounds.basis == LegalBasis::Contract && signals.by_server && site.server_basis == ServerBasis::Contract && !grounds.may_share;
                prop_assert!(grounds.basis == LegalBasis::Consent || is_count || by_contract);
            }
            // What rests on consent rests on one that was given, and that the contract lets count.
            let said = match grounds.source {
                ConsentSource::Tcf => signals.tcf == StringVerdict::Grants,
                ConsentSource::Gpp => signals.gpp == StringVerdict::Grants,
                ConsentSource::Cookie => signals.remembered == Remembered::Granted,
                ConsentSource::Relayed => signals.relayed == Once::Given(Relayed::Granted) && site.relayed_consent,
                ConsentSource::UsPrivacy | ConsentSource::None => false,
            };
            prop_assert_eq!(grounds.basis == LegalBasis::Consent, said);
            // And nothing is shared that somebody objects to.
            prop_assert!(!grounds.may_share || !(signals.headers.gpc || signals.us_opts_out));
        }
    }
}

//! The index and the cache against a list of subscriptions that is searched from end to end.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::num::NonZeroU32;

use columba_proto::{
    QoS, Time,
    packet::RetainHandling,
    topic::{SubscriptionFilter, TopicName},
};

use super::*;
use crate::{
    commons::LocalCommons,
    id::GroupKey,
    placement::Placement,
    seam::{Commons, Cx},
    testing::Rng,
};

fn four_shards(seed: u64) -> LocalCommons {
    LocalCommons::new(Placement::new([0; 16], 64, 4), seed)
}

fn session(no: u64) -> SessionRef {
    SessionRef { no: SessionNo(no), slot: u32::try_from(no).unwrap(), presence: Arc::default() }
}

fn grant(qos: QoS) -> Grant {
    Grant { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send, id: None }
}

fn filter(text: &str) -> SubscriptionFilter {
    text.parse().unwrap()
}

fn random_grant(rng: &mut Rng) -> Grant {
    Grant {
        qos: *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
        no_local: rng.chance(30),
        retain_as_published: rng.chance(50),
        id: NonZeroU32::new(u32::try_from(rng.below(4)).unwrap()),
        ..grant(QoS::AtMostOnce)
    }
}

fn random_levels(rng: &mut Rng, names: &[&str]) -> String {
    let levels: Vec<&str> = (0..=rng.below(4)).map(|_| *rng.pick(names)).collect();
    levels.join("/")
}

fn random_topic(rng: &mut Rng) -> String {
    loop {
        let topic = random_levels(rng, &["", "a", "b", "c", "$s"]);
        if !topic.is_empty() {
            return topic;
        }
    }
}

fn random_filter(rng: &mut Rng) -> SubscriptionFilter {
    let mut text = random_levels(rng, &["", "a", "b", "c", "$s", "+", "+"]);
    if rng.chance(30) {
        text = if rng.chance(50) { text + "/#" } else { "#".to_string() };
    }
    if text.is_empty() {
        text = "/".to_string();
    }
    let share = rng.chance(25).then(|| *rng.pick(&["g", "h"]));
    filter(&share.map_or_else(|| text.clone(), |share| format!("$share/{share}/{text}")))
}

/// Who gets what, as texts: `(session, merged, own)`, and groups with their members.
type Shown = (Vec<String>, Vec<String>);

fn show(route: &Route) -> Shown {
    let targets = route.targets.iter().map(|it| format!("{:?} {:?} {:?}", it.session.no, it.grant, it.own)).collect();
    let member = |it: &Member| format!("{:?} {:?}", it.session.no, it.grant);
    let groups = route.groups.iter().map(|it| format!("{} {:?}", it.filter, it.members.iter().map(member).collect::<Vec<_>>()));
    (targets, groups.collect())
}

#[derive(Default)]
struct Model(BTreeMap<(SubscriptionFilter, SessionNo), Grant>);

impl Model {
    fn show(&self, topic: &str) -> Shown {
        let topic = TopicName::new(topic).unwrap();
        let mut targets: BTreeMap<SessionNo, Vec<&Grant>> = BTreeMap::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((filter, session), grant) in &self.0 {
            if !filter.filter().matches(topic) {
                continue;
            }
            match filter.share() {
                None => targets.entry(*session).or_default().push(grant),
                Some(_) => groups.entry(filter.to_string()).or_default().push(format!("{session:?} {grant:?}")),
            }
        }
        let merged = |grants: &[&Grant]| {
            let mut ids: SubscriptionIds = grants.iter().filter_map(|it| it.id).map(NonZeroU32::get).collect();
            ids.sort_unstable();
            let qos = grants.iter().map(|it| it.qos).max()?;
            Some(Merged { qos, retain_as_published: grants.iter().any(|it| it.retain_as_published), ids })
        };
        let targets = targets.into_iter().map(|(session, grants)| {
            let own: Vec<_> = grants.iter().copied().filter(|it| !it.no_local).collect();
            format!("{session:?} {:?} {:?}", merged(&grants).unwrap(), merged(&own))
        });
        (targets.collect(), groups.into_iter().map(|(filter, members)| format!("{filter} {members:?}")).collect())
    }
}

use crate::seam::SubscriptionIds;

/// One random change of index and model.
fn change(rng: &mut Rng, world: &LocalCommons, model: &mut Model, context: &str) {
    let mut index = world.index_mut();
    if rng.chance(55) || model.0.is_empty() {
        let (filter, no, grant) = (random_filter(rng), rng.below(50) as u64 + 1, random_grant(rng));
        let inserted = index.insert(&filter, session(no), grant, world.versions());
        let replaced = model.0.insert((filter, SessionNo(no)), grant).is_some();
        assert_eq!(inserted == Inserted::Replaced, replaced, "{context}");
    } else {
        let (filter, no) = if rng.chance(90) {
            model.0.keys().nth(rng.below(model.0.len())).unwrap().clone()
        } else {
            (random_filter(rng), SessionNo(rng.below(50) as u64 + 1))
        };
        let removed = index.remove(&filter, no, world.versions());
        assert_eq!(removed, model.0.remove(&(filter, no)).is_some(), "{context}");
    }
    assert_eq!(index.len(), model.0.len(), "{context}");
}

#[test]
fn the_index_matches_what_a_search_of_all_subscriptions_matches() {
    for seed in 0..60 {
        let (mut rng, world, mut model) = (Rng::new(seed), four_shards(seed), Model::default());
        for step in 0..400 {
            let context = format!("seed {seed} step {step}");
            change(&mut rng, &world, &mut model, &context);
            let topic = random_topic(&mut rng);
            let route = world.index().route(topic.as_str().into());
            assert_eq!(show(&route), model.show(&topic), "{context}: {topic}");
        }
        let mut index = world.index_mut();
        for (filter, no) in model.0.into_keys() {
            assert!(index.remove(&filter, no, world.versions()), "seed {seed}");
        }
        assert!(index.is_bare(), "seed {seed}: something is left of filters that are gone");
    }
}

#[test]
fn a_cached_route_is_never_stale() {
    for seed in 0..60 {
        let (mut rng, world, mut model) = (Rng::new(seed), four_shards(seed), Model::default());
        let mut cache = TopicCache::new(12, seed);
        let topics: BTreeSet<String> = (0..16).map(|_| random_topic(&mut rng)).collect();
        let topics: Vec<String> = topics.into_iter().collect();
        for step in 0..600 {
            let context = format!("seed {seed} step {step}");
            if rng.chance(30) {
                change(&mut rng, &world, &mut model, &context);
            }
            let topic = rng.pick(&topics);
            let route = cache.route(&Cx { now: Time(0), commons: &world }, topic);
            assert_eq!(show(&route), model.show(topic), "{context}: {topic}");
            assert!(cache.len() <= 12, "{context}");
        }
    }
}

#[test]
fn a_search_in_pieces_finds_what_is_true_at_its_end_whatever_changes_meanwhile() {
    for seed in 0..60 {
        let (mut rng, world, mut model) = (Rng::new(seed), four_shards(seed), Model::default());
        let mut cache = TopicCache::new(4, seed);
        let cx = Cx { now: Time(0), commons: &world };
        for step in 0..150 {
            let topic = random_topic(&mut rng);
            let context = format!("seed {seed} step {step}: {topic}");
            let mut pieces = 0;
            let route = loop {
                if rng.chance(40) {
                    change(&mut rng, &world, &mut model, &context);
                }
                let mut work = 1 + u32::try_from(rng.below(3)).unwrap();
                // Others look for theirs in between, and have no place for what they do not find at once.
                cache.route_within(&cx, &random_topic(&mut rng), &mut 2, Unfinished::Dropped);
                if let Some(route) = cache.route_within(&cx, &topic, &mut work, Unfinished::Kept) {
                    break route;
                }
                pieces += 1;
                assert!(pieces < 1_000, "{context}: it never ends");
            };
            assert_eq!(show(&route), model.show(&topic), "{context}");
            cache.forget_search();
        }
    }
}

#[test]
fn a_change_leaves_the_routes_of_other_first_levels_and_other_topics_valid() {
    let world = four_shards(7);
    let cx = Cx { now: Time(0), commons: &world };
    let mut cache = TopicCache::new(1000, 7);
    let subscribe = |text: &str| world.index_mut().insert(&filter(text), session(1), grant(QoS::AtMostOnce), world.versions());
    let mut reads = |topic: &str| {
        let before = world.index_reads();
        cache.route(&cx, topic);
        world.index_reads() - before
    };

    assert_eq!(reads("devices/1/state"), 1);
    assert_eq!(reads("devices/1/state"), 0);
    // Each client of a fleet subscribes to its own topic.
    for n in 0..100 {
        subscribe(&format!("devices/{n}/cmd"));
    }
    subscribe("rooms/+");
    assert_eq!(reads("devices/1/state"), 0);

    subscribe("devices/#");
    assert_eq!(reads("devices/1/state"), 1);
    subscribe("+/1/state");
    assert_eq!(reads("devices/1/state"), 1);
    subscribe("devices/1/state");
    assert_eq!(reads("devices/1/state"), 1);
    assert_eq!(reads("devices/1/state"), 0);
}

#[test]
fn a_cache_stays_within_its_bound_and_keeps_what_is_used() {
    let world = four_shards(1);
    let cx = Cx { now: Time(0), commons: &world };
    let mut cache = TopicCache::new(100, 1);

    for n in 0..10_000 {
        cache.route(&cx, &format!("flood/{n}"));
        cache.route(&cx, "hot");
    }

    assert!(cache.len() <= 100);
    let before = world.index_reads();
    cache.route(&cx, "hot");
    assert_eq!(world.index_reads(), before);
}

#[test]
fn a_route_that_alone_exceeds_the_cache_is_not_kept() {
    let world = four_shards(1);
    let cx = Cx { now: Time(0), commons: &world };
    let mut cache = TopicCache::new(100, 1);
    for no in 1..=2000 {
        world.index_mut().insert(&filter("all/#"), session(no), grant(QoS::AtMostOnce), world.versions());
    }

    let route = cache.route(&cx, "all");

    assert_eq!(route.targets.len(), 2000);
    assert!(cache.is_empty());
}

#[test]
fn a_crowd_on_one_filter_comes_and_goes() {
    let world = four_shards(1);
    let mut index = world.index_mut();
    for no in 1..=20_000 {
        index.insert(&filter("fleet/+"), session(no), grant(QoS::AtMostOnce), world.versions());
        index.insert(&filter("$share/g/fleet/+"), session(no), grant(QoS::AtMostOnce), world.versions());
    }
    assert_eq!(index.route("fleet/1".into()).targets.len(), 20_000);
    assert_eq!(index.route("fleet/1".into()).groups[0].members.len(), 20_000);

    for no in 1..=20_000 {
        assert!(index.remove(&filter("fleet/+"), SessionNo(no), world.versions()));
        assert!(index.remove(&filter("$share/g/fleet/+"), SessionNo(no), world.versions()));
    }
    assert!(index.is_bare());
}

const SOMEBODY: Publisher = Publisher { session: None, lane: Lane(5) };

fn with(strategy: Strategy) -> LocalCommons {
    let strategies = Strategies { default: strategy, by_group: BTreeMap::new() };
    LocalCommons::with(Placement::new([0; 16], 64, 4), 1, strategies)
}

/// A group of the sessions 1, 2, ... with these presences: a digit is online with so many of nine messages on their way, `f` online and full, `d` durable and
/// away, `-` away and not durable.
fn group(world: &LocalCommons, presences: &str) -> Route {
    let mut index = world.index_mut();
    for (no, presence) in (1..).zip(presences.chars()) {
        let member = session(no);
        member.presence.set_online(presence == 'f' || presence.is_ascii_digit());
        member.presence.set_full(presence == 'f');
        member.presence.set_durable(presence == 'd');
        member.presence.set_load(presence.to_digit(10), 9);
        index.insert(&filter("$share/g/t"), member, grant(QoS::AtLeastOnce), world.versions());
    }
    index.route("t".into())
}

fn chosen_by(strategy: Strategy, presences: &str, times: usize) -> Vec<Option<u64>> {
    let route = group(&with(strategy), presences);
    (0..times).map(|_| route.groups[0].choose(SOMEBODY, Turn::Take).map(|it| it.session.no.0)).collect()
}

fn chosen(presences: &str, times: usize) -> Vec<Option<u64>> {
    chosen_by(Strategy::RoundRobin, presences, times)
}

#[test]
fn the_members_of_a_group_take_turns_and_those_away_are_skipped() {
    assert_eq!(chosen("000", 4), [Some(1), Some(2), Some(3), Some(1)]);
    assert_eq!(chosen("0-d0", 4), [Some(1), Some(4), Some(1), Some(4)]);
}

#[test]
fn at_qos_0_a_busy_member_comes_behind_one_with_room_and_nothing_waits() {
    assert_eq!(chosen("090", 4), [Some(1), Some(3), Some(1), Some(3)]);
    assert_eq!(chosen("d9f", 2), [Some(2), Some(2)]);
    assert_eq!(chosen("df", 2), [Some(2), Some(2)]);
    assert_eq!(chosen("-d-", 1), [None]);
    assert_eq!(chosen("--", 1), [None]);
}

fn taker(strategy: Strategy, presences: &str) -> Option<u64> {
    group(&with(strategy), presences).groups[0].taker(SOMEBODY).map(|it| it.session.no.0)
}

#[test]
fn what_nobody_has_room_for_waits() {
    assert_eq!(taker(Strategy::RoundRobin, "990"), Some(3));
    assert_eq!(taker(Strategy::RoundRobin, "9d-"), None);
    assert_eq!(taker(Strategy::LeastInFlight, "99"), None);
    assert_eq!(taker(Strategy::Sticky, "d90"), None, "it is the second one's");
    assert_eq!(taker(Strategy::HashTopic, "99"), None);
}

#[test]
fn a_group_keeps_messages_for_members_that_are_there_and_for_those_that_last() {
    let keeps = |presences| group(&with(Strategy::RoundRobin), presences).groups[0].keeps();
    assert!(keeps("-d") && keeps("-9") && !keeps("--"));

    let world = with(Strategy::RoundRobin);
    let mut index = world.index_mut();
    let zero = session(1);
    zero.presence.set_online(true);
    index.insert(&filter("$share/g/t"), zero, grant(QoS::AtMostOnce), world.versions());
    assert!(!index.route("t".into()).groups[0].keeps(), "at QoS 0 nothing waits");
}

#[test]
fn what_groups_have_given_to_a_member_counts_with_its_own() {
    let route = group(&with(Strategy::LeastInFlight), "80");
    let members = &route.groups[0].members;

    members[0].session.presence.add_given();
    assert!(!members[0].session.presence.has_room());
    assert_eq!(members[0].session.presence.load(), 9);

    members[0].session.presence.sub_given();
    assert!(members[0].session.presence.has_room());
}

#[test]
fn who_only_asks_takes_nobodys_turn() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastInFlight, Strategy::Sticky] {
        let route = group(&with(strategy), "000");
        let group = &route.groups[0];
        for _ in 0..4 {
            let asked = group.choose(SOMEBODY, Turn::Look).map(|it| it.session.no);
            assert_eq!(asked, group.choose(SOMEBODY, Turn::Take).map(|it| it.session.no), "{strategy:?}");
        }
    }
}

#[test]
fn the_least_loaded_member_is_chosen_and_among_equals_one_after_the_other() {
    assert_eq!(chosen_by(Strategy::LeastInFlight, "5-27", 3), [Some(3), Some(3), Some(3)]);
    assert_eq!(chosen_by(Strategy::LeastInFlight, "2522", 4), [Some(1), Some(3), Some(4), Some(1)]);
}

#[test]
fn a_sticky_group_stays_with_its_member_until_that_is_away() {
    let world = with(Strategy::Sticky);
    let route = group(&world, "-00");
    let group = &route.groups[0];
    let choose = || group.choose(SOMEBODY, Turn::Take).map(|it| it.session.no.0);
    assert_eq!([choose(), choose()], [Some(2), Some(2)]);

    group.members[0].session.presence.set_online(true);
    group.members[1].session.presence.set_load(None, 9);
    assert_eq!(choose(), Some(2), "also while it is busy, and though another one comes");

    group.members[1].session.presence.set_online(false);
    assert_eq!([choose(), choose()], [Some(1), Some(1)]);
    group.members[1].session.presence.set_online(true);
    assert_eq!(choose(), Some(1), "who was it before has no claim");
}

#[test]
fn a_hash_spreads_topics_and_moves_only_those_of_a_member_that_goes() {
    let world = with(Strategy::HashTopic);
    let mut index = world.index_mut();
    let mut members = Vec::new();
    for no in 1..=4 {
        let member = session(no);
        member.presence.set_online(true);
        members.push(Arc::clone(&member.presence));
        index.insert(&filter("$share/g/t/+"), member, grant(QoS::AtLeastOnce), world.versions());
    }
    let choice = |n: u32| {
        let route = index.route(format!("t/{n}").into());
        let all: BTreeSet<_> = (0..3)
            .map(|lane| {
                let publisher = Publisher { session: None, lane: Lane(lane) };
                route.groups[0].choose(publisher, Turn::Take).map(|it| it.session.no.0)
            })
            .collect();
        assert_eq!(all.len(), 1, "whoever publishes");
        all.into_iter().next().flatten().unwrap()
    };

    let before: Vec<u64> = (0..1_000).map(choice).collect();
    members[2].set_online(false);
    let after: Vec<u64> = (0..1_000).map(choice).collect();

    for no in 1..=4 {
        let share = before.iter().filter(|it| **it == no).count();
        assert!((200..300).contains(&share), "member {no} has {share} topics of 1,000");
    }
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *before == 3));
    assert!(!after.contains(&3));
}

#[test]
fn a_hash_of_the_client_spreads_the_lanes_whatever_the_topic() {
    let world = with(Strategy::HashClient);
    let mut index = world.index_mut();
    for no in 1..=4 {
        let member = session(no);
        member.presence.set_online(true);
        index.insert(&filter("$share/g/+"), member, grant(QoS::AtLeastOnce), world.versions());
    }
    let choice = |lane: u16, topic: &str| {
        let publisher = Publisher { session: None, lane: Lane(lane) };
        index.route(topic.into()).groups[0].choose(publisher, Turn::Take).map(|it| it.session.no.0)
    };

    for no in 1..=4 {
        let share = (0..64).filter(|lane| choice(*lane, "t") == Some(no)).count();
        assert!((6..28).contains(&share), "member {no} has {share} lanes of 64");
    }
    assert!((0..64).all(|lane| choice(lane, "t") == choice(lane, "u")));
}

#[test]
fn a_turn_is_the_groups_own_whatever_the_topic() {
    let world = four_shards(1);
    let mut index = world.index_mut();
    for no in 1..=2 {
        let member = session(no);
        member.presence.set_online(true);
        index.insert(&filter("$share/g/t/+"), member, grant(QoS::AtLeastOnce), world.versions());
    }

    let choice = |n| index.route(format!("t/{n}").into()).groups[0].choose(SOMEBODY, Turn::Take).unwrap().session.no.0;
    let chosen: Vec<u64> = (0..4).map(choice).collect();

    assert_eq!(chosen, [1, 2, 1, 2]);
}

type Received = (u64, QoS, bool, Vec<u32>, bool);

fn receivers(route: &Route, publisher: u64, qos: QoS, retain: bool) -> Vec<Received> {
    let mut all = Vec::new();
    let publisher = Publisher { session: Some(SessionNo(publisher)), lane: Lane(0) };
    route.receivers(publisher, qos, retain, Turn::Take, |session, qos, retain, ids, claim| {
        all.push((session.no.0, qos, retain, ids.to_vec(), !claim.is_none()));
    });
    all
}

#[test]
fn a_delivery_has_the_lower_qos_and_retain_only_where_asked_for() {
    let world = four_shards(1);
    let mut index = world.index_mut();
    let as_published = Grant { retain_as_published: true, ..grant(QoS::ExactlyOnce) };
    index.insert(&filter("t"), session(1), grant(QoS::AtMostOnce), world.versions());
    index.insert(&filter("+"), session(2), as_published, world.versions());
    let route = index.route("t".into());

    assert_eq!(
        receivers(&route, 9, QoS::AtLeastOnce, true),
        [(1, QoS::AtMostOnce, false, Vec::new(), false), (2, QoS::AtLeastOnce, true, Vec::new(), false)]
    );
    assert_eq!(receivers(&route, 9, QoS::AtMostOnce, false)[1], (2, QoS::AtMostOnce, false, Vec::new(), false));
}

#[test]
fn no_local_keeps_a_clients_own_publications_from_it_and_only_through_that_subscription() {
    let world = four_shards(1);
    let mut index = world.index_mut();
    let id = NonZeroU32::new;
    index.insert(&filter("t"), session(1), Grant { no_local: true, id: id(1), ..grant(QoS::ExactlyOnce) }, world.versions());
    assert_eq!(receivers(&index.route("t".into()), 1, QoS::ExactlyOnce, false), []);

    index.insert(&filter("#"), session(1), Grant { id: id(2), ..grant(QoS::AtLeastOnce) }, world.versions());
    let route = index.route("t".into());

    assert_eq!(receivers(&route, 1, QoS::ExactlyOnce, false), [(1, QoS::AtLeastOnce, false, Vec::from([2]), false)]);
    assert_eq!(receivers(&route, 2, QoS::ExactlyOnce, false), [(1, QoS::ExactlyOnce, false, Vec::from([1, 2]), false)]);
}

#[test]
fn a_session_gets_its_own_copy_beside_those_of_its_groups() {
    let world = four_shards(1);
    let mut index = world.index_mut();
    let id = NonZeroU32::new;
    let online = session(5);
    online.presence.set_online(true);
    let mut subscribe = |text: &str, session: SessionRef, number| {
        index.insert(&filter(text), session, Grant { id: id(number), ..grant(QoS::AtLeastOnce) }, world.versions());
    };
    subscribe("t", session(4), 1);
    subscribe("t", online.clone(), 2);
    subscribe("+", online.clone(), 3);
    subscribe("$share/g/t", online.clone(), 4);
    subscribe("$share/h/+", online, 5);

    let received = receivers(&index.route("t".into()), 9, QoS::ExactlyOnce, true);

    let of = |text: &str| GroupKey::of(text).place().0;
    assert_eq!(
        received,
        [
            (4, QoS::AtLeastOnce, false, Vec::from([1]), false),
            (5, QoS::AtLeastOnce, false, Vec::from([2, 3]), false),
            (of("$share/g/t"), QoS::ExactlyOnce, true, Vec::new(), true),
            (of("$share/h/+"), QoS::ExactlyOnce, true, Vec::new(), true),
        ],
        "the groups have it as it was published"
    );

    let copies = receivers(&index.route("t".into()), 9, QoS::AtMostOnce, false);
    let of_5: Vec<Vec<u32>> = copies.into_iter().filter(|copy| copy.0 == 5).map(|copy| copy.3).collect();
    assert_eq!(of_5, [Vec::from([2, 3]), Vec::from([4]), Vec::from([5])], "at QoS 0 nothing is queued");
}

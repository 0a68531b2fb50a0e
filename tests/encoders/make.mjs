// Owns the making of consent strings by the reference encoders: `node make.mjs MODULES tcf|gpp|us_privacy COUNT SEED`
// prints COUNT JSON lines, each a string and every field that went into it, and last, on stderr, a line of how
// often the reference decoder read something else than its own encoder had written. MODULES is the folder that
// holds node_modules. The same seed makes the same strings.
//
// What a line says. A TC string: `core` as its specification names the fields, each a list of numbers; sets of
// vendors as `[first, last]`, ascending and apart; `restrictions` as `[purpose, type, vendors]`; `disclosed` and
// `publisher` null where there is no such segment. A US section: `core` and `part` (behind the dot) likewise.
//
// What is odd in the encoders, and left as it is:
// - cmpapi 3.2.0 fills its headers and US sections up to 8 bits and then to 6, where the specification's examples
//   go to 6 alone ("DBABMA" for "DBABM"); sections 2 are filled up to 24.
// - cmpapi 3.2.0 writes MD, IN, KY and RI without the section header that their specifications ask for, and the
//   specification's id 0 of the core has no Fibonacci code.
// - The sensitive data of IN, KY and RI carry no type, so that "no consent, consent" begins like a GPC of 1.
// - cmpapi 3.2.0 writes no GPC for VA, UT, FL; core 1.5.21 takes away interests in purposes 1, 3, 4, 5 and 6,
//   vendors that are not on the list, and restrictions that do not fit a vendor's declarations.

import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";
import { once } from "node:events";

const [modules, form, count, seed] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(resolve(modules), "node_modules", name, "lib/mjs/index.js")));
const tcf = await load("@iabtechlabtcf/core");
const gpp = await load("@iabgpp/cmpapi");

// A seeded generator: mulberry32.
let state = Number(seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
}
const upTo = (most) => Math.floor(random() * (most + 1));
const between = (least, most) => least + upTo(most - least);
const chance = (share) => random() < share;
const pick = (list) => list[upTo(list.length - 1)];
const times = (number, make) => Array.from({ length: number }, (_, index) => make(index));
const letters = () => String.fromCharCode(65 + upTo(25), 65 + upTo(25));
const codes = (text) => [...text].map((letter) => letter.charCodeAt(0) - 65);
const bits = (flags) => flags.map(Number);
const deciseconds = (date) => Math.round(new Date(date).getTime() / 100);
const day = () => new Date(Date.UTC(2024, 0, 1 + upTo(1200)));
const lately = () => new Date(Date.UTC(2026, 2, 1 + upTo(360)));

// Ids at random: none, few and far apart, dense, runs; the highest small, ordinary or 65,535.
function vendors() {
  const most = chance(0.02) ? 65535 : pick([8, 50, 300, 1200, 1200, 3000]);
  const ids = new Set();
  const kind = pick(["none", "few", "few", "dense", "runs", "runs", "highest"]);
  if (kind === "few") times(between(1, 12), () => ids.add(between(1, most)));
  if (kind === "dense") times(Math.min(most, 3000), () => ids.add(between(1, most)));
  if (kind === "highest") ids.add(most);
  if (kind === "runs") {
    for (let at = 1; at <= most; at += between(1, Math.ceil(most / 8))) {
      const last = Math.min(most, at + upTo(Math.ceil(most / 10)));
      for (; at <= last; at++) ids.add(at);
    }
  }
  return [...ids].sort((one, other) => one - other);
}

function ranges(ids) {
  const found = [];
  for (const id of ids) {
    const last = found.at(-1);
    if (last && last[1] + 1 === id) last[1] = id;
    else found.push([id, id]);
  }
  return found;
}

const ofVector = (vector) => [...vector.values()].sort((one, other) => one - other);
const flagsOf = (vector, number) => times(number, (index) => (vector.has(index + 1) ? 1 : 0));

function someFlags(vector, number) {
  const share = pick([0, 0.2, 0.5, 0.9, 1]);
  for (let id = 1; id <= number; id++) if (chance(share)) vector.set(id);
}

// What a model of @iabtechlabtcf/core says, in the specification's names.
function sayTcf(text, model) {
  const segments = text.split(".").slice(1).map((segment) => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef".indexOf(segment[0]) >> 3);
  const restrictions = model.publisherRestrictions;
  return {
    text,
    core: {
      Version: [model.version],
      Created: [deciseconds(model.created)],
      LastUpdated: [deciseconds(model.lastUpdated)],
      CmpId: [model.cmpId],
      CmpVersion: [model.cmpVersion],
      ConsentScreen: [model.consentScreen],
      ConsentLanguage: codes(model.consentLanguage),
      VendorListVersion: [model.vendorListVersion],
      TcfPolicyVersion: [model.policyVersion],
      IsServiceSpecific: [Number(model.isServiceSpecific)],
      UseNonStandardTexts: [Number(model.useNonStandardTexts)],
      SpecialFeatureOptIns: flagsOf(model.specialFeatureOptins, 12),
      PurposesConsent: flagsOf(model.purposeConsents, 24),
      PurposesLITransparency: flagsOf(model.purposeLegitimateInterests, 24),
      PurposeOneTreatment: [Number(model.purposeOneTreatment)],
      PublisherCC: codes(model.publisherCountryCode),
    },
    consents: ranges(ofVector(model.vendorConsents)),
    interests: ranges(ofVector(model.vendorLegitimateInterests)),
    restrictions: restrictions.getRestrictions().map((one) => [one.purposeId, one.restrictionType, ranges(restrictions.getVendors(one))]),
    disclosed: segments.includes(1) ? ranges(ofVector(model.vendorsDisclosed)) : null,
    publisher: segments.includes(3)
      ? {
          PubPurposesConsent: flagsOf(model.publisherConsents, 24),
          PubPurposesLITransparency: flagsOf(model.publisherLegitimateInterests, 24),
          NumCustomPurposes: [model.numCustomPurposes],
          CustomPurposesConsent: flagsOf(model.publisherCustomConsents, model.numCustomPurposes),
          CustomPurposesLITransparency: flagsOf(model.publisherCustomLegitimateInterests, model.numCustomPurposes),
        }
      : null,
  };
}

// A small vendor list of our own, with gaps and ids up to the highest, for the encoder's own rules.
function vendorList() {
  const named = (number) => Object.fromEntries(times(number, (index) => [index + 1, { id: index + 1, name: `${index + 1}` }]));
  const ids = [...new Set([...times(40, (index) => index + 1), ...times(40, () => between(41, 1500)), 30000, 65534, 65535])];
  const vendor = (id) => {
    const consent = times(11, (index) => index + 1).filter(() => chance(0.4));
    const interest = [2, 7, 8, 9, 10, 11].filter((purpose) => !consent.includes(purpose) && chance(0.6));
    const flexible = [...consent, ...interest].filter((purpose) => purpose !== 1 && chance(0.5));
    return { id, name: `${id}`, purposes: consent, legIntPurposes: interest, flexiblePurposes: flexible, specialPurposes: chance(0.5) ? [1] : [], features: [], specialFeatures: [] };
  };
  return new tcf.GVL({
    gvlSpecificationVersion: 3, vendorListVersion: 123, tcfPolicyVersion: 5, lastUpdated: "2026-01-01T00:00:00Z",
    purposes: named(11), specialPurposes: named(3), features: named(3), specialFeatures: named(2), stacks: {}, dataCategories: {},
    vendors: Object.fromEntries(ids.map((id) => [id, vendor(id)])),
  });
}

const everyId = new Set(times(65535, (index) => index + 1));

function makeTcf(list) {
  const model = new tcf.TCModel();
  model.created = day();
  model.lastUpdated = chance(0.8) ? model.created : day();
  model.cmpId = between(2, 4095);
  model.cmpVersion = upTo(4095);
  model.consentScreen = upTo(63);
  model.consentLanguage = letters();
  model.vendorListVersion = upTo(4095);
  model.policyVersion = chance(0.8) ? pick([4, 5]) : upTo(63);
  model.isServiceSpecific = chance(0.9);
  model.useNonStandardTexts = chance(0.5);
  model.purposeOneTreatment = chance(0.2);
  model.publisherCountryCode = letters();
  someFlags(model.specialFeatureOptins, 12);
  someFlags(model.purposeConsents, 24);
  someFlags(model.purposeLegitimateInterests, 24);
  someFlags(model.publisherConsents, 24);
  someFlags(model.publisherLegitimateInterests, 24);
  model.numCustomPurposes = pick([0, 1, 2, 5, 63, upTo(63)]);
  someFlags(model.publisherCustomConsents, model.numCustomPurposes);
  someFlags(model.publisherCustomLegitimateInterests, model.numCustomPurposes);
  const byList = chance(0.1);
  // Every second string would let its vendors measure, were it not for its restrictions and vendors.
  if (chance(0.5)) {
    model.created = model.lastUpdated = lately();
    model.policyVersion = 5;
    model.isServiceSpecific = true;
    model.purposeOneTreatment = false;
    for (const vector of [model.vendorConsents, model.vendorsDisclosed]) times(between(10, 20), (id) => vector.set(id + 1));
    for (const purpose of [1, 8]) model.purposeConsents.set(purpose);
  }
  const ids = () => (byList ? [...list.vendorIds].filter(() => chance(0.5)) : vendors());
  for (const vector of [model.vendorConsents, model.vendorLegitimateInterests, model.vendorsDisclosed, model.vendorsAllowed]) {
    for (const id of ids()) vector.set(id);
  }
  if (byList) model.gvl = list;
  // Without a list there are no rules; the encoder still asks it which ids lie between two others.
  else model.publisherRestrictions.gvl = { vendorIds: everyId };
  for (let left = chance(0.5) ? 0 : between(1, 6); left > 0; left--) {
    const restriction = new tcf.PurposeRestriction(pick([1, 8, between(1, 11)]), upTo(2));
    for (const id of chance(0.3) ? [7, 8, 9] : ids().slice(0, 200)) model.publisherRestrictions.add(id, restriction);
  }
  const { CORE, VENDORS_DISCLOSED, VENDORS_ALLOWED, PUBLISHER_TC } = tcf.Segment;
  const behind = [[VENDORS_DISCLOSED, 0.85], [PUBLISHER_TC, 0.6], [VENDORS_ALLOWED, 0.1]].filter(([, share]) => chance(share)).map(([segment]) => segment);
  if (chance(0.3)) behind.reverse();
  const segments = [CORE, ...behind];
  if (byList) {
    const text = tcf.TCString.encode(model, { segments });
    return sayTcf(text, tcf.TCString.decode(text));
  }
  const text = segments.map((segment) => tcf.SegmentEncoder.encode(model, segment)).join(".");
  const said = sayTcf(text, model);
  disagreements += JSON.stringify(said) === JSON.stringify(sayTcf(text, tcf.TCString.decode(text))) ? 0 : 1;
  return said;
}

let disagreements = 0;

// The sections, in the order in which the encoder writes them.
const sectionNames = gpp.Sections.SECTION_ORDER;
const idOf = new Map([...gpp.Sections.SECTION_ID_NAME_MAP].map(([id, name]) => [name, id]));

const twoBits = (field) => (field === "MspaCoveredTransaction" ? between(1, 2) : upTo(2));

function fillUs(model, name) {
  // Two settings that touch every section, to bring it into being.
  model.setFieldValue(name, "SaleOptOut", 0);
  const section = () => model.getSection(name);
  const version = name === "usnat" ? pick([1, 2]) : null;
  if (version) model.setFieldValue(name, "Version", version);
  const quiet = chance(0.3);
  for (const [field, value] of Object.entries(section())) {
    if (["Version", "GpcSegmentType"].includes(field)) continue;
    if (field === "MspaVersion") model.setFieldValue(name, field, between(1, 23));
    else if (Array.isArray(value)) model.setFieldValue(name, field, value.map(() => (quiet && field.startsWith("KnownChild") ? 0 : upTo(2))));
    else if (typeof value === "boolean") model.setFieldValue(name, field, chance(0.3));
    else if (quiet && field.startsWith("KnownChild")) model.setFieldValue(name, field, 0);
    else if (quiet && field.endsWith("OptOut")) model.setFieldValue(name, field, pick([0, 2]));
    else model.setFieldValue(name, field, twoBits(field));
  }
  for (const included of ["GpcSegmentIncluded", "SensitiveDataConsentSegmentIncluded"]) {
    if (model.hasField(name, included)) model.setFieldValue(name, included, chance(0.6));
  }
}

function sayUs(id, name, text, values) {
  const core = {};
  const part = {};
  const inPart = (field) => field === "Gpc" || field === "GpcSegmentType" || (id >= 25 && field === "SensitiveDataProcessing");
  for (const [field, value] of Object.entries(values)) {
    const numbers = (Array.isArray(value) ? value : [value]).map(Number);
    if (inPart(field)) part[field === "GpcSegmentType" ? "SubsectionType" : field] = numbers;
    else core[field] = numbers;
  }
  return { id, text, core, part: text.includes(".") ? part : null };
}

function fillTcf(model, name, canada) {
  const set = (field, value) => model.setFieldValue(name, field, value);
  const flags = (number) => {
    const share = pick([0, 0.2, 0.5, 1]);
    return times(number, () => chance(share));
  };
  const restriction = () => new gpp.RangeEntry(between(1, 11), upTo(2), vendors().slice(0, 200));
  const purposes = canada ? ["ExpressConsent", "ImpliedConsent"] : ["Consents", "LegitimateInterests"];
  set("CmpId", upTo(4095));
  set("CmpVersion", upTo(4095));
  set("ConsentScreen", upTo(63));
  set("ConsentLanguage", letters());
  set("VendorListVersion", upTo(4095));
  set(canada ? "TcfPolicyVersion" : "PolicyVersion", canada ? upTo(63) : pick([4, 5]));
  set("UseNonStandardStacks", chance(0.5));
  set(canada ? "SpecialFeatureExpressConsent" : "SpecialFeatureOptins", flags(12));
  for (const which of purposes) {
    set(`${canada ? "Purposes" : "Purpose"}${which}`, flags(24));
    set(`Vendor${which}`, vendors());
    set(canada ? `PubPurposes${which}` : `Publisher${which}`, flags(24));
  }
  const custom = upTo(chance(0.5) ? 63 : 3);
  set("NumCustomPurposes", custom);
  for (const which of purposes) set(canada ? `CustomPurposes${which}` : `PublisherCustom${which}`, flags(custom));
  set(canada ? "DisclosedVendors" : "VendorsDisclosed", vendors());
  set(canada ? "PubRestrictions" : "PublisherRestrictions", times(chance(0.5) ? 0 : between(1, 5), restriction));
  if (!canada) {
    set("PurposeOneTreatment", chance(0.2));
    set("PublisherCountryCode", letters());
  }
  const created = day();
  set("Created", created);
  set("LastUpdated", created);
}

function sayGppTcf(id, text, values, canada) {
  const shared = {
    Version: [values.Version],
    Created: [deciseconds(values.Created)],
    LastUpdated: [deciseconds(values.LastUpdated)],
    CmpId: [values.CmpId],
    CmpVersion: [values.CmpVersion],
    ConsentScreen: [values.ConsentScreen],
    ConsentLanguage: codes(values.ConsentLanguage),
    VendorListVersion: [values.VendorListVersion],
  };
  const core = canada
    ? {
        ...shared,
        TcfPolicyVersion: [values.TcfPolicyVersion],
        UseNonStandardStacks: [Number(values.UseNonStandardStacks)],
        SpecialFeatureExpressConsent: bits(values.SpecialFeatureExpressConsent),
        PurposesExpressConsent: bits(values.PurposesExpressConsent),
        PurposesImpliedConsent: bits(values.PurposesImpliedConsent),
      }
    : {
        ...shared,
        TcfPolicyVersion: [values.PolicyVersion],
        IsServiceSpecific: [Number(values.IsServiceSpecific)],
        UseNonStandardTexts: [Number(values.UseNonStandardStacks)],
        SpecialFeatureOptIns: bits(values.SpecialFeatureOptins),
        PurposesConsent: bits(values.PurposeConsents),
        PurposesLITransparency: bits(values.PurposeLegitimateInterests),
        PurposeOneTreatment: [Number(values.PurposeOneTreatment)],
        PublisherCC: codes(values.PublisherCountryCode),
      };
  const of = (ours, canadas) => values[canada ? canadas : ours];
  const disclosed = of("VendorsDisclosed", "DisclosedVendors");
  return {
    id,
    text,
    core,
    consents: ranges(of("VendorConsents", "VendorExpressConsent")),
    interests: ranges(of("VendorLegitimateInterests", "VendorImpliedConsent")),
    restrictions: of("PublisherRestrictions", "PubRestrictions").map((one) => [one.key, one.type, ranges(one.ids)]),
    disclosed: canada && disclosed.length === 0 ? null : ranges(disclosed),
    publisher: {
      PubPurposesConsent: bits(of("PublisherConsents", "PubPurposesExpressConsent")),
      PubPurposesLITransparency: bits(of("PublisherLegitimateInterests", "PubPurposesImpliedConsent")),
      NumCustomPurposes: [values.NumCustomPurposes],
      CustomPurposesConsent: bits(of("PublisherCustomConsents", "CustomPurposesExpressConsent")),
      CustomPurposesLITransparency: bits(of("PublisherCustomLegitimateInterests", "CustomPurposesImpliedConsent")),
    },
  };
}

function fillUsPrivacy(model) {
  model.setFieldValue("uspv1", "Notice", pick(["Y", "N", "-"]));
  model.setFieldValue("uspv1", "OptOutSale", pick(["Y", "N", "-"]));
  model.setFieldValue("uspv1", "LspaCovered", pick(["Y", "N", "-"]));
}

// Sections alone, then in company: neighbours, and others far apart, whose ids the header counts from each other.
function chosenSections(turn) {
  if (turn % 3 === 0) return [sectionNames[(turn / 3) % sectionNames.length]];
  const wanted = new Set(times(between(2, chance(0.1) ? sectionNames.length : 6), () => pick(sectionNames)));
  // Three in a row become a group in the header.
  if (chance(0.3)) times(3, (index) => wanted.add(sectionNames[Math.min(between(2, 8) + index, sectionNames.length - 1)]));
  return sectionNames.filter((name) => wanted.has(name));
}

function makeGpp(turn) {
  const model = new gpp.GppModel();
  const names = chosenSections(turn);
  for (const name of names) {
    if (name === "tcfeuv2") fillTcf(model, name, false);
    else if (name === "tcfcav1") fillTcf(model, name, true);
    else if (name === "uspv1") fillUsPrivacy(model);
    else fillUs(model, name);
  }
  const text = model.encode();
  const values = JSON.parse(JSON.stringify(model.toObject()));
  disagreements += JSON.stringify(new gpp.GppModel(text).toObject()) === JSON.stringify(model.toObject()) ? 0 : 1;
  const sections = names.map((name) => {
    const id = idOf.get(name);
    const section = model.encodeSection(name);
    if (name === "tcfeuv2" || name === "tcfcav1") return sayGppTcf(id, section, values[name], name === "tcfcav1");
    if (name === "uspv1") return { id, text: section };
    return sayUs(id, name, section, values[name]);
  });
  return { text, sections };
}

function makeUsPrivacy() {
  const model = new gpp.GppModel();
  fillUsPrivacy(model);
  const said = model.getSection("uspv1");
  return { text: model.encodeSection("uspv1"), notice: said.Notice, sale: said.OptOutSale, agreement: said.LspaCovered };
}

const list = vendorList();
const makers = { tcf: () => makeTcf(list), gpp: makeGpp, us_privacy: makeUsPrivacy };
for (let turn = 0; turn < Number(count); turn++) {
  if (!process.stdout.write(`${JSON.stringify(makers[form](turn))}\n`)) await once(process.stdout, "drain");
}
process.stderr.write(`${disagreements} of ${count} strings are read otherwise by the reference decoder\n`);

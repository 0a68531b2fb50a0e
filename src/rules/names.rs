//! Owns the names that ask for what must not be kept: a property, or a word before `=`, so named loses
//! its value whatever it is.
//!
//! Knows credentials (PCI DSS 3.3 for those of cards), direct identifiers of a person, of a device or of
//! a click, and what names are made of: `user.email`, `billing_phone`, `customerFirstName` and
//! `contact[zip]` end in such a name, `phone_model` does not. Facts of the business stay (see
//! `docs/decisions/0018-property-names.md`). Never looks at a value.

/// Names longer than this are looked at by their first bytes.
const LENGTH_MAX: usize = 64;

/// Whether a field so named holds a person or a secret.
pub fn asks_for_a_person(name: &str) -> bool {
    let words = Words::of(name);
    if words.length == 0 {
        return false;
    }
    has_secret_part(words.from(0)) || WHOLE.binary_search(&words.from(0)).is_ok() || words.ends_in_a_name()
}

/// Whether a word asks for a credential: what stands behind `password:` in prose.
pub fn asks_for_a_credential(name: &str) -> bool {
    let words = Words::of(name);
    words.length > 0 && (has_secret_part(words.from(0)) || CREDENTIALS.binary_search(&words.from(0)).is_ok())
}

/// A name in small letters without what parts its words, and where its words begin.
struct Words {
    bytes: [u8; LENGTH_MAX],
    length: usize,
    /// Bit n is set where a word begins at byte n.
    starts: u64,
}

impl Words {
    fn of(name: &str) -> Self {
        let mut words = Self { bytes: [0; LENGTH_MAX], length: 0, starts: 0 };
        let (mut begins, mut was_small) = (true, false);
        for byte in name.bytes() {
            if !byte.is_ascii_alphanumeric() && byte.is_ascii() {
                begins = true;
                continue;
            }
            let Some(slot) = words.bytes.get_mut(words.length) else { break };
            *slot = byte.to_ascii_lowercase();
            if begins || (was_small && byte.is_ascii_uppercase()) {
                words.starts |= 1 << words.length;
            }
            begins = false;
            was_small = byte.is_ascii_lowercase() || byte.is_ascii_digit();
            words.length += 1;
        }
        // `address2` is an address.
        while words.length > 1 && words.bytes.get(words.length - 1).is_some_and(u8::is_ascii_digit) {
            words.length -= 1;
        }
        words
    }

    fn from(&self, start: usize) -> &str {
        self.between(start, self.length)
    }

    fn between(&self, start: usize, end: usize) -> &str {
        self.bytes.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    fn ends_in_a_name(&self) -> bool {
        let last = (0..self.length).rev().find(|at| self.starts & (1 << at) != 0).unwrap_or(0);
        // `passport_no` and `phone.value` are what stands before.
        let is_tail = last > 0 && TAILS.contains(&self.from(last));
        (0..self.length).filter(|start| self.starts & (1 << start) != 0).any(|start| {
            let is_name = |end| LAST.binary_search(&self.between(start, end)).is_ok();
            is_name(self.length) || (is_tail && start < last && is_name(last))
        })
    }
}

fn has_secret_part(name: &str) -> bool {
    name.len() >= 5 && PARTS.iter().any(|part| name.contains(part))
}

/// Anywhere in a name.
const PARTS: [&str; 11] = [
    "passw", "passphrase", "secret", "token", "apikey", "credential", "privatekey", "sessid", "sessionid", "cardnum", "creditcard",
];

const TAILS: [&str; 6] = ["no", "nr", "num", "number", "value", "id"];

/// As the whole of a name only: as a part of one they mean something else (`gift_card`, `free_account`).
const WHOLE: &[&str] = &[
    "account", "auth", "card", "geo", "hash", "login", "nif", "nonce", "routing", "sig", "sign", "sin", "swift", "ticket", "user",
];

/// As the last words of a name.
const LAST: &[&str] = &[
    "aaid", "accesskey", "accountid", "accountno", "accountnumber", "addr", "address", "addressline", "advertisingid", "androidid",
    "anonymousid", "aspsessionid", "assertion", "authorization", "bankaccount", "bearer", "birthdate", "birthday", "cardno", "cardnumber",
    "ccno", "ccnum", "ccnumber", "cellphone", "clientip", "connectsid", "cookie", "coords", "csc", "csrf", "customerid", "cvc", "cvv",
    "dateofbirth", "dclid", "debitcard", "deviceid", "dni", "dob", "driverlicense", "driverslicense", "drivinglicence", "email",
    "emailaddress", "emails", "employeeid", "epik", "fax", "fbclid", "fingerprint", "firstname", "fname", "fullname", "gaid", "gbraid",
    "gclid", "gclsrc", "givenname", "gps", "homephone", "hsenc", "hsmi", "iban", "idfa", "idfv", "igshid", "imei", "imsi",
    "insurancenumber", "ip", "ipaddr", "ipaddress", "irclid", "jwt", "lastname", "lat", "latitude", "lfatid", "lifatid", "lname", "lng",
    "lon", "longitude", "macaddress", "maidenname", "mail", "mceid", "memberid", "mfa", "middlename", "mkttok", "mobile", "mobilephone",
    "mrn", "msclkid", "msisdn", "nationalid", "nino", "olyanonid", "olyencid", "otp", "pan", "passport", "patientid", "paymentcard",
    "personid", "phone", "phonenumber", "pin", "plz", "postalcode", "postcode", "pwd", "qclid", "rdtcid", "realip", "remoteaddr", "sccid",
    "session", "sid", "signature", "socialsecurity", "sortcode", "ssn", "street", "streetaddress", "subscriberid", "surname", "taxid",
    "tel", "telefon", "telephone", "totp", "ttclid", "twclid", "twofactor", "uid", "useragent", "userid", "userlogin", "username", "veroid",
    "wbraid", "whatsapp", "xforwardedfor", "xsrf", "yclid", "zip", "zipcode",
];

const CREDENTIALS: &[&str] = &["csc", "cvc", "cvv", "mfa", "otp", "passcode", "pin", "pwd", "sid", "totp"];

#[cfg(test)]
mod tests {
    use super::{CREDENTIALS, LAST, WHOLE, asks_for_a_credential, asks_for_a_person};

    #[test]
    fn the_lists_are_sorted() {
        for list in [WHOLE, LAST, CREDENTIALS] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }

    #[test]
    fn names_that_ask_and_names_that_do_not() {
        for name in [
            "Password", "user.email", "access-token", "cvv", "cvv2", "billing_phone", "customerFirstName", "contact[zip]", "address2", "passport_no",
            "user_id", "X-Api-Key", "phone.value", "mobile-number", "clientIp", "E-Mail",
        ] {
            assert!(asks_for_a_person(name), "{name}");
        }
        for name in [
            "order_id", "plan", "pinned", "phone_model", "product_name", "name", "state", "code", "city", "gift_card", "zipper", "tip",
            "latency", "address_type", "email_type", "author", "", "größe", "_", "id", "number",
        ] {
            assert!(!asks_for_a_person(name), "{name}");
        }
        assert!(asks_for_a_credential("Password") && asks_for_a_credential("PIN") && !asks_for_a_credential("Email"));
    }
}

"""Makes made.tsv, the combinatorial part of the corpus: `python3 make.py`. The seed is fixed, so it is the same each time.

What must go is built here by the published rules (ISO/IEC 7812-1 for cards, ISO 13616 for IBANs), not
by asking the program. Columns and escapes are those of hand.tsv.
"""
import json
import random
from pathlib import Path
from urllib.parse import quote

dice = random.Random(20261123)
rows = []
seen = set()


def add(where, text, gone=(), stays=(), note=""):
    if (where, text) in seen:
        return
    seen.add((where, text))
    escape = lambda part: json.dumps(part, ensure_ascii=False)[1:-1].replace('\\"', '"')
    gone = "¦".join(f"{kind}={secret}" for kind, secret in gone) or "-"
    stays = stays if isinstance(stays, str) else "¦".join(stays) or "-"
    rows.append("\t".join([where, escape(text), escape(gone), escape(stays), note]))


def luhn_sum(digits):
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if at % 2 else 1)
        total += value - 9 if value > 9 else value
    return total


def with_check_digit(head):
    return next(head + check for check in "0123456789" if luhn_sum(head + check) % 10 == 0)


def card(prefix, length):
    return with_check_digit(prefix + "".join(dice.choice("0123456789") for _ in range(length - 1 - len(prefix))))


def in_script(text, zero):
    return "".join(chr(zero + int(c)) if c.isdigit() else c for c in text)


def grouped(text, size, separator):
    return separator.join(text[at : at + size] for at in range(0, len(text), size))


# --- cards -----------------------------------------------------------------------------------------
TEST_CARDS = [
    "4242424242424242", "4111111111111111", "4000056655665556", "4222222222222", "5555555555554444", "5200828282828210",
    "2223003122003222", "378282246310005", "371449635398431", "6011111111111117", "6011000990139424", "30569309025904",
    "36227206271667", "38520000023237", "3566002020360505", "3530111333300000", "6200000000000005", "6205500000000000004",
    "6304000000000000", "6759649826438453", "5018000000000009", "2200000000000004", "6062826786276634", "9792030000000000",
]
DISGUISES = {
    "plain": lambda n: n, "blanks": lambda n: grouped(n, 4, " "), "dashes": lambda n: grouped(n, 4, "-"),
    "dots": lambda n: grouped(n, 4, "."), "nbsp": lambda n: grouped(n, 4, "\u00a0"), "thin": lambda n: grouped(n, 4, "\u2009"),
    "low lines": lambda n: grouped(n, 4, "_"), "pairs": lambda n: grouped(n, 2, " "), "singles": lambda n: grouped(n, 1, " "),
    "full-width": lambda n: in_script(n, 0xFF10), "Arabic": lambda n: in_script(n, 0x660), "Persian": lambda n: in_script(n, 0x6F0),
    "Devanagari": lambda n: in_script(n, 0x966), "Devanagari in groups": lambda n: grouped(in_script(n, 0x966), 4, " "),
    "percent": lambda n: "".join(f"%{ord(c):02X}" for c in n), "percent twice": lambda n: "".join(f"%25{ord(c):02X}" for c in n),
    "full-width, percent": lambda n: quote(in_script(n, 0xFF10)), "full-width, percent twice": lambda n: quote(quote(in_script(n, 0xFF10))),
    "blanks, percent": lambda n: grouped(n, 4, "%20"), "blanks, percent twice": lambda n: grouped(n, 4, "%2520"),
    "plus": lambda n: grouped(n, 4, "+"), "zero-width": lambda n: grouped(n, 4, "\u200b"), "parts in quotes": lambda n: grouped(n, 4, '","'),
}
IN_URLS = ["plain", "dashes", "dots", "low lines", "percent", "percent twice", "full-width, percent", "full-width, percent twice",
           "blanks, percent", "blanks, percent twice", "plus"]
PLACES = ["value", "key", "title", "element", "event", "page path", "page query", "page utm", "referrer path", "target path"]


def put_card(number, disguise, place):
    shown = DISGUISES[disguise](number)
    gone = [("card", number)]
    if place == "value":
        before, after = dice.choice([("", ""), ("card ", ""), ("", " thanks"), ('{"n":"', '"}'), ("paid with ", ", done")])
        add("value", before + shown + after, gone, [part for part in (before.strip(), after.strip()) if part.isalpha() and "%" not in shown], disguise)
    elif place in ("key", "title", "element", "event"):
        add(place, shown if place != "title" else f"Payment {shown}", gone, (), disguise)
    elif disguise in IN_URLS:
        where = place.split()[0]
        url = {
            "page path": f"https://shop.example/pay/{shown}", "page query": f"https://shop.example/pay?n={shown}",
            "page utm": f"https://shop.example/pay?utm_content={shown}", "referrer path": f"https://bank.example/c/{shown}/ok",
            "target path": f"https://bank.example/c/{shown}",
        }[place]
        add(where, url, gone, ["https://shop.example/pay"] if "pay" in url else ["https://bank.example/c/"], disguise)


for at, number in enumerate(TEST_CARDS):
    for disguise in DISGUISES:
        for place in dice.sample(PLACES, 2 if at < 12 else 1):
            put_card(number, disguise, place)
SCHEMES = [
    ("4", (13, 16, 18, 19)), ("51", (16,)), ("55", (16,)), ("2221", (16,)), ("2720", (16,)), ("34", (15,)), ("37", (15,)),
    ("300", (14, 16, 19)), ("36", (14, 16, 19)), ("38", (14, 16, 19)), ("6011", (16, 19)), ("644", (16, 19)), ("65", (16, 19)),
    ("2131", (16, 17, 18, 19)), ("3528", (16, 17, 18, 19)), ("3589", (16, 19)), ("62", (14, 15, 16, 17, 18, 19)), ("810", (16,)),
    ("500", (12, 13, 14, 15, 16, 17, 18, 19)), ("56", (12, 16, 19)), ("58", (13,)), ("63", (12, 18)), ("67", (12, 16, 19)),
    ("2202", (16, 19)), ("606282", (16,)), ("9792", (16,)), ("508", (16,)), ("60", (16,)),
]
for prefix, lengths in SCHEMES:
    for length in lengths:
        number = card(prefix, length)
        put_card(number, "plain", "value")
        put_card(number, dice.choice(list(DISGUISES)), dice.choice(["value", "title", "key"]))
        add("page", f"https://shop.example/pay/{number}/x", [("card", number)], ["/x"])
for number in TEST_CARDS[:8]:
    add("value", json.dumps({"payment": {"number": number, "brand": "x"}}), [("card", number)], ['"brand": "x"'])
    add("value", f"{number} 12/29 123", [("card", number)])
    add("value", f"x={number}&y=2", [("card", number)])

# --- e-mail addresses ------------------------------------------------------------------------------
LOCALS = ["jane", "jane.doe", "j.doe+shop", "jane_doe", "JANE", "o'brien", "x", "jane-doe", "1984jane", "jürgen", "мария", "jane.doe+a+b"]
DOMAINS = ["example.org", "mail.example.co.uk", "müller.example", "xn--mller-kva.example", "EXAMPLE.COM", "sub.sub.example.museum", "пример.испытание"]
for local in LOCALS:
    for domain in DOMAINS:
        address = f"{local}@{domain}"
        gone = [("email", address)]
        encoded, twice = quote(address), quote(quote(address))
        forms = [
            ("value", f"write to {address} now", ["write to", "now"]), ("value", address, ()), ("key", address, ()), ("event", f"{address}", ()),
            ("title", f"Inbox - {address} - Mail", ["Inbox -", "- Mail"]), ("element", f'a[title="{address}"]', ["a[title="]),
            ("value", encoded, ()), ("value", twice, ()), ("value", f"mailto:{address}", ["mailto:"]), ("target", f"mailto:{address}", ["mailto:"]),
            ("page", f"https://shop.example/newsletter/{encoded}/ok", ["/newsletter/", "/ok"]),
            ("page", f"https://shop.example/newsletter/{twice}", ["/newsletter/"]),
            ("page", f"https://shop.example/?utm_source=a&utm_content={encoded}", ["utm_source=a"]),
            ("page", f"https://shop.example/?q={encoded}", ["https://shop.example/"]),
            ("referrer", f"https://mail.example/inbox/{encoded}", ["https://mail.example/inbox/"]),
            ("value", json.dumps({"to": address, "n": 1}, ensure_ascii=False), ['"n": 1']), ("value", f"<{address}>", ()),
        ]
        for where, text, stays in dice.sample(forms, 4):
            add(where, text, gone, stays)

# --- telephone numbers -----------------------------------------------------------------------------
INTERNATIONAL = [("44", "20", "7946", "0958"), ("44", "7700", "900", "123"), ("1", "415", "555", "0132"), ("49", "171", "234", "5678"),
                 ("33", "6", "1234", "5678"), ("39", "06", "6982", "1234"), ("34", "612", "345", "678"), ("48", "512", "345", "678"),
                 ("31", "6", "1234", "5678"), ("43", "664", "123", "4567"), ("41", "79", "123", "4567"), ("91", "98765", "43", "210"),
                 ("86", "138", "0013", "8000"), ("55", "11", "91234", "5678"), ("61", "412", "345", "678"), ("353", "86", "123", "4567"),
                 ("971", "50", "123", "4567"), ("380", "67", "123", "4567")]
for country, *parts in INTERNATIONAL:
    compact = country + "".join(parts)
    for separator in ["", " ", "-", ".", "\u00a0"]:
        shown = "+" + separator.join([country, *parts])
        add("value", shown, [("phone", compact)])
        add(dice.choice(["title", "value"]), f"Call {shown} now", [("phone", compact)], ["Call", "now"])
    add("value", "00" + " ".join([country, *parts]), [("phone", compact)])
    add("value", f"00{country}-{'-'.join(parts)}", [("phone", compact)])
    add("target", f"tel:+{compact}", [("phone", compact)], ["tel:"])
    add("value", f"+{country} ({parts[0]}) {parts[1]} {parts[2]}", [("phone", compact)])
    add("key", f"+{compact}", [("phone", compact)])
    add("page", f"https://shop.example/call/%2B{compact}", [("phone", compact)], ["/call/"])
NATIONAL = ["020 7946 0958", "(020) 7946 0958", "07700 900123", "0171 2345678", "0171-2345678", "0171/2345678", "(0171) 2345678",
            "030 12345678", "089/123456-78", "01 23 45 67 89", "06.12.34.56.78", "(415) 555-0132", "415-555-0132", "415.555.0132",
            "02 9374 4000", "0664 1234567", "079 123 45 67", "011 4567 890"]
for number in NATIONAL:
    compact = "".join(c for c in number if c.isdigit())
    for before, after in dice.sample([("", ""), ("Tel. ", ""), ("Tel: ", "!"), ("phone ", " (office)"), ("call ", " today"), ("Ring ", ""),
                                      ("our number, ", ", is new"), ("(", ")"), ("Fax: ", "")], 5):
        add("value", before + number + after, [("phone", compact)], [before.strip()] if before.strip(" (").isalpha() else ())
WORDS = ["tel", "Tel.", "Tel:", "phone", "Phone:", "telephone", "mobile", "Mobile:", "call", "Call us on", "fax", "Telefon", "Handy", "whatsapp", "SMS:", "cell"]
for word in WORDS:
    for digits in dice.sample(["4155550132", "02079460958", "1712345678", "7946 0958", "612345678", "555 0132 99"], 3):
        add("value", f"{word} {digits}", [("phone", "".join(c for c in digits if c.isdigit()))], [word])
for name in ["phone", "Phone", "tel", "mobile", "telephone", "msisdn", "home_phone", "contact.phone", "phoneNumber", "mobile-number", "billing[phone]"]:
    add(f"value:{name}", "4155550132", [("key", "4155550132")])

# --- bank accounts ---------------------------------------------------------------------------------
BBANS = {"DE": "nnnnnnnnnnnnnnnnnn", "GB": "aaaannnnnnnnnnnnnn", "FR": "nnnnnnnnnncccccccccccnn", "NL": "aaaannnnnnnnnn", "ES": "n" * 20,
         "IT": "annnnnnnnnncccccccccccc", "AT": "n" * 16, "CH": "nnnnncccccccccccc", "BE": "n" * 12, "PL": "n" * 24, "SE": "n" * 20,
         "NO": "n" * 11, "DK": "n" * 14, "FI": "n" * 14, "PT": "n" * 21, "IE": "aaaannnnnnnnnnnnnn", "CZ": "n" * 20, "MT": "aaaannnnn" + "c" * 18,
         "SA": "nncccccccccccccccccc", "TR": "nnnnnncccccccccccccccc", "BR": "n" * 23 + "ac", "LU": "nnnccccccccccccc"}


def iban(country):
    draw = {"n": "0123456789", "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "c": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    body = "".join(dice.choice(draw[kind]) for kind in BBANS[country])
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    return f"{country}{98 - number % 97:02d}{body}"


for country in BBANS:
    for _ in range(2):
        number = iban(country)
        gone = [("iban", number)]
        for shown in (number, grouped(number, 4, " "), number.lower(), grouped(number, 4, "-"), grouped(number.lower(), 4, "\u00a0")):
            add("value", dice.choice(["", "IBAN ", "iban: ", "pay to "]) + shown, gone)
    add("page", f"https://bank.example/sepa/{number}", gone, ["https://bank.example/sepa/"])
    add("key", number, gone)

# --- social security numbers, addresses ------------------------------------------------------------
for _ in range(30):
    number = f"{dice.randint(1, 665):03d}-{dice.randint(1, 99):02d}-{dice.randint(1, 9999):04d}"
    before, after = dice.choice([("", ""), ("SSN ", ""), ("ssn:", ""), ("for ", " please"), ('"', '"')])
    add(dice.choice(["value", "title", "value", "key"]), before + number + after, [("ssn", number)])
    add("value", f"SSN {number.replace('-', '')}", [("ssn", number.replace("-", ""))], ["SSN"])
for _ in range(40):
    address = ".".join(str(dice.randint(1, 254)) for _ in range(4))
    before, after = dice.choice([("", ""), ("from ", " ok"), ("ip=", ""), ("[", "]"), ("", ":443"), ("http://", "/x")])
    add("value", before + address + after, [("ip", address)])
    add("title", f"Host {address} is up", [("ip", address)], ["Host", "is up"])
    add("page", f"https://shop.example/log/{address}/all", [("ip", address)], ["/log/", "/all"])
for _ in range(40):
    groups = [f"{dice.randint(1, 65535):x}" for _ in range(8)]
    whole = ":".join(groups)
    short = ":".join(groups[:3]) + "::" + ":".join(groups[6:])
    for address in (whole, short, short.upper()):
        before, after = dice.choice([("", ""), ("from ", " ok"), ("ip=", ""), ("[", "]:443"), ("addr ", ".")])
        add("value", before + address + after, [("ip", address)])

# --- keys and tokens -------------------------------------------------------------------------------
BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
HEX = "0123456789abcdef"


def draw(alphabet, length):
    return "".join(dice.choice(alphabet) for _ in range(length))


MINTS = [lambda: "AKIA" + draw(BASE62[:26] + "234567", 16), lambda: "ASIA" + draw(BASE62[:26] + "234567", 16), lambda: "AIza" + draw(BASE62 + "_-", 35),
         lambda: "sk_live_" + draw(BASE62, 24), lambda: "sk_test_" + draw(BASE62, 24), lambda: "rk_live_" + draw(BASE62, 24),
         lambda: "ghp_" + draw(BASE62, 36), lambda: "ghs_" + draw(BASE62, 36), lambda: "github_pat_" + draw(BASE62, 22) + "_" + draw(BASE62, 59),
         lambda: "glpat-" + draw(BASE62, 20), lambda: "xoxb-" + draw("0123456789", 12) + "-" + draw(BASE62, 24), lambda: "xoxp-" + draw("0123456789", 12) + "-" + draw(BASE62, 24),
         lambda: "eyJ" + draw(BASE62, 17) + ".eyJ" + draw(BASE62, 30) + "." + draw(BASE62 + "-_", 43), lambda: "Bearer " + draw(BASE62, 12) + "1" + draw(BASE62, 20),
         lambda: "npm_" + draw(BASE62, 36), lambda: "SG." + draw(BASE62, 22) + "." + draw(BASE62, 43), lambda: "ya29." + draw(BASE62, 40)]
for mint in MINTS:
    for _ in range(4):
        token = mint()
        before, after = dice.choice([("", ""), ("key ", " end"), ('"', '"'), ("token: ", ""), ("(", ")")])
        add("value", before + token + after, [("token", token)])
        add(dice.choice(["title", "element", "event", "key"]), token[:60], [("token", token[:60])], (), "")
        if " " not in token:
            add("page", f"https://shop.example/x/{token}/y", [("token", token)], ["/y"])
PATH_TOKENS = [lambda: draw(HEX, 32), lambda: draw(HEX, 40), lambda: draw(HEX, 64), lambda: draw(BASE62, 22), lambda: draw(BASE62, 32), lambda: draw(BASE62 + "-_", 43),
               lambda: "-".join(draw(HEX, n) for n in (8, 4, 4, 4, 12)), lambda: draw("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26), lambda: draw(HEX, 24)]
for mint in PATH_TOKENS:
    for parent in ["reset", "password/reset", "verify-email", "confirm", "invite", "activate", "x", "d", "login/magic", "unsubscribe"]:
        token = mint()
        add("page", f"https://shop.example/{parent}/{token}{dice.choice(['', '/', '/done', '?utm_source=mail'])}", [("token", token)], [f"https://shop.example/{parent}/"])
THINGS = ["product", "products", "item", "articles", "category", "collections", "sku", "docs", "blog", "commit", "images"]
for parent in THINGS:
    for mint in (PATH_TOKENS[0], PATH_TOKENS[6], PATH_TOKENS[8]):
        add("page", f"https://shop.example/{parent}/{mint()}", (), "*", "the id of a thing")
for name in ["app", "vendor", "main", "chunk"]:
    for ending in ["js", "css", "png", "woff2"]:
        add("target", f"https://cdn.example/static/{name}.{draw(HEX, 32)}.{ending}", (), "*", "a file named for its content")
for name in ["password", "passwd", "pwd", "token", "access_token", "api_key", "apikey", "secret", "client_secret", "sessionid", "csrf_token", "otp", "cvv"]:
    value = draw(HEX, 4) + "7" + draw(HEX, 3)
    add("value", f"{name}={value}", [("token", value)])
    add("value", json.dumps({name: value, "step": 2}), [("token", value)], ['"step": 2'])
    add("value", f"a=1&{name}={value}&b=2", [("token", value)])
    add("title", f"cb?{name}={value}", [("token", value)])

# --- persons in paths ------------------------------------------------------------------------------
for parent in ["user", "users", "u", "profile", "account", "member", "members", "customer", "patient", "employee", "student", "benutzer", "usuario"]:
    for who in dice.sample(["12345", "jane.doe", "jane_doe", "janedoe84", "Jane-Doe", "C-10023", "007", "jd", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"], 4):
        tail = dice.choice(["", "/orders", "/edit", "/"])
        add("page", f"https://shop.example/{parent}/{who}{tail}", [("user", who)], [f"https://shop.example/{parent}/"])
    for word in dice.sample(["settings", "orders", "login", "edit", "profile", "new", "register", "wishlist", "security", "help"], 3):
        add("page", f"https://shop.example/{parent}/{word}", (), "*")
for name in ["jane", "jdoe", "Jane Doe", "j.doe"]:
    add("value", f"C:\\Users\\{name}\\Desktop\\plan.docx", [("user", name)], ["\\Desktop\\plan.docx"])
    add("value", f"/home/{name.replace(' ', '')}/work/plan.odt", [("user", name.replace(" ", ""))], ["/work/plan.odt"])
    add("value", f"file:///Users/{name.replace(' ', '%20')}/plan.pdf", [("user", name)], ["plan.pdf"])

# --- queries, fragments, names ---------------------------------------------------------------------
QUERY_NAMES = """access_token refresh_token id_token token auth_token authorization jwt client_secret secret code state nonce session session_id sid jsessionid
phpsessid connect.sid csrf_token xsrf_token authenticity_token SAMLResponse RelayState ticket api_key apikey key signature sig hash X-Amz-Signature X-Amz-Credential
X-Goog-Signature password passwd pwd pin otp verification_code reset_token invite magic login username user userid email e-mail phone tel mobile name firstname last_name
dob birthdate gender ssn passport address street city zip postcode lat lng card cardnumber cvv exp iban account order_id customer_id gclid gclsrc dclid gbraid wbraid fbclid
msclkid twclid ttclid li_fat_id igshid yclid _kx mc_eid mkt_tok _hsenc vero_id q search id page ref""".split()
for name in QUERY_NAMES:
    value = draw(HEX, 5) + "z9"
    add("page", f"https://shop.example/a?{name}={value}&utm_source=news", [("query", value)], ["https://shop.example/a", "utm_source=news"])
    if dice.random() < 0.4:
        add("referrer", f"https://else.example/b?x=1&{name}={value}", [("query", value)], ["https://else.example/b"])
    if dice.random() < 0.3:
        add("page", f"https://shop.example/a#{name}={value}", [("fragment", value)], ["https://shop.example/a"])
    if dice.random() < 0.3:
        add("value", f"https://shop.example/a?{name}={value}", [("query", value)], ["https://shop.example/a"])
    if dice.random() < 0.2:
        add("page", f"https://shop.example/a?utm_content={quote('https://b.example/?' + name + '=' + value, safe='')}" if name in ("token", "password", "api_key", "email", "sid") else
            f"https://shop.example/a;{name}={value}/b", [("query", value)], ["https://shop.example/a"])
PROPERTY_NAMES = """password passwd pwd pin otp totp cvc cvv cvv2 csc pan iban ssn authorization bearer jwt cookie session session_id sid email e-mail mail phone telephone msisdn
mobile first_name last_name surname full_name username user_name birthday birthdate dob passport ip ip_address user_agent secret client_secret token access_token refresh_token api_key
apikey private_key credit_card card_number ccnum account_number user_id customer_id patient_id street address zip postcode lat lng latitude longitude gclid fbclid msclkid device_id idfa
csrf_token signature driver_license tax_id fingerprint""".split()
for name in PROPERTY_NAMES:
    value = "v" + draw(BASE62, 5)
    parts = name.replace("-", "_").split("_")
    camel = parts[0] + "".join(part.title() for part in parts[1:])
    for shown in {name, name.upper(), camel, f"user.{name}", f"billing_{name}", f"contact[{name}]"}:
        if dice.random() < 0.45:
            add(f"value:{shown}", value, [("key", value)])

# --- what must stay --------------------------------------------------------------------------------
STARTS = tuple(prefix for prefix, _ in SCHEMES) + ("2", "3", "5", "6", "8", "9")


def harmless(length):
    while True:
        number = str(dice.randint(1, 9)) + draw("0123456789", length - 1)
        if luhn_sum(number) % 10 or not number.startswith(STARTS):
            return number


for _ in range(30):
    seconds = dice.randint(1_000_000_000, 1_790_000_000)
    for factor in (1, 10**3, 10**6, 10**9):
        number = str(seconds * factor + dice.randrange(factor))
        add(dice.choice(["value", "title"]), dice.choice(["{}", "at {}", "t={}", "{} ms"]).format(number), (), "*", "a moment")
for length in range(8, 20):
    for _ in range(10):
        number = harmless(length)
        where, form = dice.choice([("value", "{}"), ("value", "order {}"), ("value", "#{}"), ("title", "Order {} shipped"), ("key", "{}"), ("value", "id:{}"), ("event", "o{}")])
        add(where, form.format(number), (), "*", "a number without an issuer or with a wrong check digit")
    for _ in range(4):
        add("page", f"https://shop.example/order/{harmless(length)}", (), "*")
for _ in range(20):
    number = with_check_digit("1" + draw("0123456789", dice.choice([11, 12, 13, 14, 15]) - 1))
    if not number.startswith("1800"):
        add("value", f"order {number}", (), "*", "the check digit is right, but nobody issues it")


def ean():
    head = draw("0123456789", 12)
    return head + str(-sum(int(c) * (3 if at % 2 else 1) for at, c in enumerate(head)) % 10)


for _ in range(60):
    number = ean()
    if luhn_sum(number) % 10 or number[0] in "01789" or number[:2] in ("97", "40", "54") and number[0] not in "45":
        add("value", number, (), "*", "EAN")
        add("page", f"https://shop.example/p/{number}", (), "*", "EAN")
for _ in range(60):
    number = "".join(["97", dice.choice("89"), draw("0123456789", 9)])
    number += str(-sum(int(c) * (3 if at % 2 else 1) for at, c in enumerate(number)) % 10)
    add("value", dice.choice([number, f"ISBN {number}", f"{number[:3]}-{number[3]}-{number[4:7]}-{number[7:12]}-{number[12]}"]), (), "*", "ISBN")
for number in ["4006381333931", "5000112637922", "4311501659625", "5010029000023"]:
    if luhn_sum(number) % 10:
        add("value", f"EAN {number}", (), "*")
lucky = 0
while lucky < 6:
    number = ean()
    if number[0] == "4" and luhn_sum(number) % 10 == 0:
        lucky += 1
        add("value", number, (), "*", "harm: this EAN is a right old Visa number of 13 digits as well: one in ten that begins with 4")
for _ in range(60):
    price = dice.randint(1, 9_999_999)
    add("value", dice.choice([f"{price / 100:.2f}", f"${price / 100:,.2f}", f"€ {price / 100:,.2f}", f"{price / 100:,.2f} EUR".replace(",", "_").replace(".", ",").replace("_", ".")]), (), "*", "a price")
for _ in range(40):
    add("value", dice.choice(["v{}.{}.{}", "{}.{}.{}", "version {}.{}.{}.{}", "v{}.{}.{}.{}", "build {}.{}.{}.{}", "{}.{}.{}-rc.{}"]).format(*(dice.randint(0, 40) for _ in range(4))), (), "*", "a version")
for _ in range(60):
    y, m, d, h, mi, s = dice.randint(1990, 2030), dice.randint(1, 12), dice.randint(1, 28), dice.randint(0, 23), dice.randint(0, 59), dice.randint(0, 59)
    add(dice.choice(["value", "title"]), dice.choice([
        f"{y}-{m:02}-{d:02}", f"{d:02}.{m:02}.{y}", f"{m:02}/{d:02}/{y}", f"{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z", f"{y}{m:02}{d:02}{h:02}{mi:02}{s:02}",
        f"{d:02}-{m:02}-{y} {h:02}:{mi:02}", f"{h:02}:{mi:02}:{s:02}.{dice.randint(0, 999):03}", f"{y}-W{m:02}-1", f"{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}+02:00"]), (), "*", "a time")
SLUG = "winter ink shoes best tips for that will help you save how to build guide review sale black friday top new red blue and the of 10 2026 42 256gb v2 3d 4k 100 wifi6 a4".split()
for _ in range(90):
    words = [dice.choice(SLUG) for _ in range(dice.randint(3, 12))]
    slug = dice.choice(["-", "-", "-", "_"]).join(words)
    add("page", f"https://shop.example/{dice.choice(['blog', 'p', 'news', 'de', 'c'])}/{slug}{dice.choice(['', '/', '.html', '-' + str(dice.randint(100, 999999))])}", (), "*", "a slug")
for _ in range(40):
    words = [dice.choice(SLUG).title() for _ in range(dice.randint(3, 7))]
    add("page", f"https://wiki.example/wiki/{dice.choice(['_', '-', ''])}".rstrip() + dice.choice(["_", "-"]).join(words), (), "*", "a title as a slug")
for _ in range(60):
    campaign = dice.choice(["-", "_"]).join(dice.choice(["Q4", "2026", "DE", "brand", "search", "EXACT", "v2", "winter", "sale", "fb", "lookalike", "US", "retarget", "30d", "PMAX"]) for _ in range(dice.randint(2, 7)))
    add("page", f"https://shop.example/?utm_source={dice.choice(['google', 'fb', 'newsletter', 'partner-7'])}&utm_campaign={campaign}", (), "*", "a campaign")
    add("value", campaign, (), "*")
for _ in range(40):
    add("value", dice.choice(["SKU", "REF", "ART", "PO", "INV", "PN", "MPN"]) + dice.choice(["-", " ", "/", "_"]) + dice.choice([
        draw("0123456789", 6), draw("0123456789", 4) + "-" + draw("0123456789", 3), draw(BASE62[:26], 3) + draw("0123456789", 5), draw("0123456789", 8)]), (), "*", "a part")
SELECTORS = ["button#{}.primary", "a.{}[href^='/']", "div#{} > span:nth-child({n})", "form[name={}] input[type=text]", "ul.{} li:nth-of-type({n})", "nav .{}-{n}", "main .{}::after"]
for _ in range(50):
    add("element", dice.choice(SELECTORS).format(dice.choice(["buy", "cart", "menu", "hero", "signup", "faq"]), n=dice.randint(1, 40)), (), "*", "a selector")
for title in ["Купить обувь {n}", "{n} 件の商品", "أفضل {n} منتج", "{n} בתים", "सर्वश्रेष्ठ {n}", "สินค้า {n} รายการ", "Τιμές από {n} €", "상품 {n}개", "Größe {n} – jetzt günstig", "Prix : {n} €", "🎉 {n} % 🎉", "№ {n}"]:
    for n in ("7", "42", "1 250", "2026", "19,99"):
        add("title", title.format(n=n), (), "*", "not Latin")
for name in ["pkg@{}", "@scope/pkg@{}", "lib@^{}", "tool@~{}", "image:tag@{}", "npm:react@{}"]:
    for _ in range(4):
        add("value", name.format(".".join(str(dice.randint(0, 30)) for _ in range(3))), (), "*", "a package")
for name in ["hero", "user", "logo", "me", "contact"]:
    for ending in ["@2x.png", "@3x.jpg", "@2x.webp", "@1.5x.gif", "@2x.svg", "@4x.jpeg", "@2x.avif"]:
        add("value", name + ending, (), "*", "a picture for a denser screen")
for _ in range(40):
    a, b = dice.randint(1, 9999), dice.randint(1, 9999)
    add("value", dice.choice([f"{a}-{b}", f"{a} - {b}", f"{a}:{b}", f"{a}/{b}", f"{a}x{b}", f"{a} of {b}", f"{a}+{b}={a + b}", f"{a}..{b}", f"{a}±{b}", f"({a}, {b})", f"{a}% / {b}%"]), (), "*", "two numbers")
for _ in range(25):
    add("value", f"{dice.uniform(-90, 90):.{dice.choice([2, 4, 6])}f}, {dice.uniform(-180, 180):.{dice.choice([2, 4, 6])}f}", (), "*", "coordinates in prose")
BUSINESS = """order_id orderId invoice plan status state code name product_name city country region currency price quantity sku ean isbn category variant brand coupon key value step position
index list_id item_id product_id experiment variant_id page_type section color size weight version build locale timezone score rating search_term filter sort phone_model card_type
address_type gender age_group session_count login_method email_type zip_file account_type user_type ip_version tip""".split()
for name in BUSINESS:
    value = dice.choice(["gold", "42", "2026-11-23", "A-17", "true", "19.99", "blue"])
    add(f"value:{name}", value, (), "*", "a fact of the business")

Path(__file__).with_name("made.tsv").write_text(
    "# Made by make.py; do not edit. Columns and escapes are those of hand.tsv.\n" + "\n".join(rows) + "\n", encoding="utf-8")
print(len(rows), "cases")

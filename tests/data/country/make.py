"""Writes nested.mmdb: a country database in MaxMind's nested form, with networks and countries made up.

python3 -m pip install mmdb_writer netaddr && python3 tests/data/country/make.py
"""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet

PLACES = {
    "192.0.2.0/24": {"country": {"iso_code": "US"}},
    "198.51.100.0/24": {"country": {"iso_code": "US"}, "registered_country": {"iso_code": "DE"}},
    "203.0.113.0/24": {"country": {"iso_code": "JP"}, "represented_country": {"iso_code": "GB", "type": "military"}},
    "192.0.0.0/24": {"country": {"iso_code": "FR"}, "registered_country": {"iso_code": "US"}},
    "198.18.0.0/24": {"country": {"iso_code": "US"}, "traits": {"is_anonymous_proxy": True}},
    "198.18.1.0/24": {"country": {"iso_code": "US"}, "traits": {"is_satellite_provider": True}},
    "198.18.2.0/24": {"country": {"iso_code": "US"}, "traits": {"is_anonymous": True}},
    "198.18.3.0/24": {"country": {"iso_code": "US"}, "traits": {"is_tor_exit_node": True}},
    "198.18.4.0/24": {"country": {"iso_code": "US"}, "is_anonymous": True},
    "198.18.5.0/24": {"registered_country": {"iso_code": "US"}},
    "198.18.6.0/24": {"country": {"iso_code": "US"}, "registered_country": {"iso_code": "XX"}},
    "2001:db8:1::/48": {"country": {"iso_code": "US"}, "registered_country": {"iso_code": "US"}},
}

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Made-up-Country", languages=["en"],
                    description="Made-up places for tests")
for network, place in PLACES.items():
    writer.insert_network(IPSet([network]), place)
writer.to_db_file(str(Path(__file__).with_name("nested.mmdb")))

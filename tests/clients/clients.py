"""The published Snowplow tracker for Python, unchanged: clients.py URL MODE, MODE granted, denied or outage."""

import sys
import time

from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, StructuredEvent, Subject, Tracker

url, mode = sys.argv[1:]
sent = []
emitter = Emitter(url, batch_size=1, max_retry_delay_seconds=2, on_success=lambda events: sent.extend(events))
subject = Subject().set_platform("srv").set_user_id("u1").set_domain_user_id("d1")
tracker = Tracker(namespace="t", emitters=emitter, app_id="snowplow-python", subject=subject, encode_base64=mode == "granted")
word = "denied" if mode == "denied" else "granted"
context = [SelfDescribingJson("iglu:clearpixel/consent/jsonschema/1-0-0", {"consent": word})]
events = [PageView(page_url=f"https://shop.example/{mode}", page_title=mode, context=context)]
if mode == "granted":
    events += [
        StructuredEvent(category="shop", action="add", label="shoes", value=2.5, context=context),
        SelfDescribing(SelfDescribingJson("iglu:com.acme/purchase/jsonschema/1-0-0", {"plan": "gold"}), context=context),
    ]
for event in events:
    tracker.track(event)
tracker.flush()
for _ in range(100):
    if len(sent) == len(events):
        break
    time.sleep(0.1)
print(len(sent))

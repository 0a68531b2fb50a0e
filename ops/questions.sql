-- Ten questions of an analyst, asked by ops/ask of clearpixel and of DuckDB in the same words; then ad-hoc
-- filters over the busiest day. `-- ` and a name begin a question; {newest} is the newest day, {visitor} somebody.

-- traffic of a site by day
SELECT day, count(*) AS interactions, count(*) FILTER (WHERE event = 'page_view') AS page_views
FROM interactions WHERE site = 'acme' GROUP BY day ORDER BY day

-- visitors of a week by day
SELECT day, count(DISTINCT visitor_id) AS visitors FROM interactions
WHERE site = 'acme' AND day > DATE '{newest}' - INTERVAL '7' DAY GROUP BY day ORDER BY day

-- pages of a month
SELECT page_path, count(*) AS views FROM interactions
WHERE site = 'acme' AND event = 'page_view' AND day > DATE '{newest}' - INTERVAL '30' DAY
GROUP BY page_path ORDER BY views DESC, page_path LIMIT 20

-- where visits come from
SELECT source_medium, source_name, count(DISTINCT visit_id) AS visits FROM interactions
WHERE day > DATE '{newest}' - INTERVAL '7' DAY GROUP BY source_medium, source_name ORDER BY visits DESC, source_medium, source_name

-- campaigns since ever
SELECT utm_source, utm_medium, utm_campaign, count(*) AS interactions, coalesce(sum(engaged_ms), 0) AS engaged_ms
FROM interactions WHERE utm_campaign IS NOT NULL GROUP BY utm_source, utm_medium, utm_campaign ORDER BY interactions DESC, utm_campaign

-- countries and devices of a month
SELECT country, device, browser, count(*) AS interactions FROM interactions
WHERE day > DATE '{newest}' - INTERVAL '30' DAY GROUP BY country, device, browser ORDER BY interactions DESC, country, device, browser

-- hours of the busiest day
SELECT date_trunc('hour', occurred_at) AS hour, event, count(*) AS interactions FROM interactions
WHERE day = DATE '{newest}' GROUP BY 1, 2 ORDER BY 1, 2

-- who saw a page and then clicked
SELECT count(*) AS visits FROM (
  SELECT visit_id FROM interactions WHERE site = 'acme' AND day > DATE '{newest}' - INTERVAL '14' DAY
  GROUP BY visit_id
  HAVING min(occurred_at) FILTER (WHERE page_path = '/products/7') < max(occurred_at) FILTER (WHERE event = 'click'))

-- who came back within a week
WITH first AS (
  SELECT visitor_id, min(day) AS day FROM interactions
  WHERE site = 'acme' AND day > DATE '{newest}' - INTERVAL '14' DAY GROUP BY visitor_id)
SELECT first.day AS first_day, count(DISTINCT later.visitor_id) AS came_back
FROM first JOIN interactions later ON later.visitor_id = first.visitor_id AND later.day > first.day AND later.day <= first.day + INTERVAL '7' DAY
WHERE later.site = 'acme' AND later.day > DATE '{newest}' - INTERVAL '14' DAY
GROUP BY first.day ORDER BY first.day

-- what one visitor did
SELECT occurred_at, event, page_path, source_name FROM interactions
WHERE site = 'acme' AND visitor_id = '{visitor}' ORDER BY occurred_at, event_id

-- day: one event of one site
SELECT count(*) AS clicks FROM interactions WHERE day = DATE '{newest}' AND site = 'acme' AND event = 'click'

-- day: pages by country
SELECT page_path, count(*) AS views FROM interactions
WHERE day = DATE '{newest}' AND country = 'FR' AND event = 'page_view' GROUP BY page_path ORDER BY views DESC, page_path LIMIT 20

-- day: text in titles
SELECT site, count(*) AS interactions FROM interactions
WHERE day = DATE '{newest}' AND page_title LIKE '%number 42%' GROUP BY site ORDER BY site

-- day: rows of a campaign on phones
SELECT occurred_at, page_path, utm_campaign, os FROM interactions
WHERE day = DATE '{newest}' AND device = 'mobile' AND utm_campaign = 'winter-ink' ORDER BY occurred_at, event_id LIMIT 100

-- day: long engagement by browser
SELECT browser, os, count(*) AS interactions, max(engaged_ms) AS longest_ms FROM interactions
WHERE day = DATE '{newest}' AND engaged_ms > 30000 GROUP BY browser, os ORDER BY interactions DESC, browser, os

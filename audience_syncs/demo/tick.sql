-- Time passes: :hours hours of it. What happens to whom is a hash of the person and of the hour, so the same shop lives the
-- same life. Steps as in shop.sql; each answers with how many it concerned.
------------------------------------------------------------------------ signed_up
SELECT shop.sign_up(
  (SELECT max(user_id) FROM shop.users) + 1,
  (SELECT max(user_id) + greatest(1, round(count(*) * 0.002 * :hours / 24.0))::bigint FROM shop.users),
  (SELECT now FROM shop.clock), interval '1 hour' * :hours);
------------------------------------------------------------------------ visited
CREATE TEMP TABLE shop_visits ON COMMIT DROP AS
SELECT (SELECT coalesce(max(event_id), 0) FROM shop.events) + row_number() OVER (ORDER BY user_id) AS visit_id, user_id, ts,
       (1 + floor(shop.r(user_id, :moment + 63) * 160))::int AS product_id
FROM (
  SELECT user_id, created_at, clock.now + interval '1 hour' * :hours * shop.r(user_id, :moment + 62) - interval '15 minutes' AS ts
  FROM shop.users, shop.clock WHERE shop.r(user_id, :moment + 61) < least(0.9, 0.07 * :hours / 24.0)
) thought_of WHERE ts >= created_at;
ANALYZE shop_visits;
SELECT visits FROM shop.visit();
------------------------------------------------------------------------ changed_email
WITH changed AS (
  UPDATE shop.users SET email = 'moved.' || user_id || '.' || :moment || '@example.net', updated_at = (SELECT now FROM shop.clock) + interval '1 hour' * :hours
  WHERE shop.r(user_id, :moment + 64) < least(0.9, 0.002 * :hours / 24.0) RETURNING 1
) SELECT count(*) FROM changed;
------------------------------------------------------------------------ changed_phone
-- The number of an id far away, of the same country.
WITH changed AS (
  UPDATE shop.users SET phone = shop.phone(shop.pick(c.phones, user_id, :moment + 69), c.blocks, user_id + 3456789::bigint * (1 + :moment / 100 % 997)),
    updated_at = (SELECT now FROM shop.clock) + interval '1 hour' * :hours
  FROM shop.countries c
  WHERE users.city = ANY (c.cities) AND shop.r(user_id, :moment + 65) < least(0.9, 0.001 * :hours / 24.0) RETURNING 1
) SELECT count(*) FROM changed;
------------------------------------------------------------------------ changed_name
WITH changed AS (
  UPDATE shop.users SET last_name = shop.pick(array_remove(c.last, last_name), user_id, :moment + 70), updated_at = (SELECT now FROM shop.clock) + interval '1 hour' * :hours
  FROM shop.countries c
  WHERE users.city = ANY (c.cities) AND shop.r(user_id, :moment + 66) < least(0.9, 0.0005 * :hours / 24.0) RETURNING 1
) SELECT count(*) FROM changed;
------------------------------------------------------------------------ changed_consent
WITH changed AS (
  UPDATE shop.users SET ads_consent = NOT ads_consent, marketing_consent = NOT marketing_consent, updated_at = (SELECT now FROM shop.clock) + interval '1 hour' * :hours
  WHERE shop.r(user_id, :moment + 67) < least(0.9, 0.001 * :hours / 24.0) RETURNING 1
) SELECT count(*) FROM changed;
------------------------------------------------------------------------ deleted
-- Never the newest: ids are given by counting on from it, and nobody may get the id of somebody who left.
CREATE TEMP TABLE shop_gone ON COMMIT DROP AS
SELECT user_id FROM shop.users
WHERE shop.r(user_id, :moment + 68) < least(0.5, 0.001 * :hours / 24.0) AND user_id < (SELECT max(user_id) FROM shop.users);
ANALYZE shop_gone;
DELETE FROM shop.order_items WHERE order_id IN (SELECT order_id FROM shop.orders JOIN shop_gone USING (user_id));
DELETE FROM shop.orders WHERE user_id IN (SELECT user_id FROM shop_gone);
DELETE FROM shop.events WHERE user_id IN (SELECT user_id FROM shop_gone);
DELETE FROM shop.users WHERE user_id IN (SELECT user_id FROM shop_gone);
SELECT count(*) FROM shop_gone;
------------------------------------------------------------------------ clock
UPDATE shop.clock SET now = now + interval '1 hour' * :hours;
SELECT count(*) FROM shop.clock;

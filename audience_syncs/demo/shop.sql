-- The demo shop, generated set-wise: every value is a hash of an id, so the same seed gives the same shop.
-- :seed, :users and :now are filled in by shop.py. Steps are separated by lines of dashes; the first line of each is its name.
------------------------------------------------------------------------ catalogue
CREATE SCHEMA shop;
-- How shop.py knows this schema for ours: no other is ever dropped or lived in.
COMMENT ON SCHEMA shop IS ':mark';

-- A number in [0, 1) for an id and a purpose.
CREATE FUNCTION shop.r(id bigint, purpose bigint) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (hashint8extended(id, purpose + :seed::bigint * 1000) & 9007199254740991)::float8 / 9007199254740992.0 $$;

-- One of the elements of an array.
CREATE FUNCTION shop.pick(choices text[], id bigint, purpose bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT choices[1 + floor(shop.r(id, purpose) * cardinality(choices))::int] $$;

CREATE TABLE shop.clock (now timestamptz NOT NULL);
INSERT INTO shop.clock VALUES (:now);

CREATE TABLE shop.products (product_id int PRIMARY KEY, name text NOT NULL, category text NOT NULL, price numeric(10,2) NOT NULL);
INSERT INTO shop.products
SELECT g, c.category || ' ' || shop.pick(ARRAY['Aria','Nova','Puls','Kite','Lumo','Orbit','Vento','Zen'], g, 1) || ' ' || (100 + g),
       c.category, round((c.base * (0.5 + 1.5 * shop.r(g, 2)))::numeric, 2)
FROM generate_series(1, 160) g
JOIN (VALUES (0,'Headphones',90),(1,'Headphones',140),(2,'Speakers',120),(3,'Keyboards',80),(4,'Cameras',420),
             (5,'Watches',240),(6,'Lamps',45),(7,'Backpacks',70),(8,'Books',18),(9,'Coffee',25)) c(k, category, base)
  ON c.k = g % 10;

-- Where people live, how they are called and how they write their phone numbers. All patterns of a country write the same
-- number: {4} is its last four digits, {h} and {l} the halves of its last eight, {block} one of the blocks. Blocks are set aside
-- for fiction (GB: Ofcom's, FR: ARCEP's) or given to no subscriber (US: the exchange 555).
CREATE TABLE shop.countries (k int, country text, language text, cities text[], first text[], last text[], latin text[], phones text[], blocks text[]);
INSERT INTO shop.countries VALUES
(0,'US','en','{New York,Austin,Portland}','{Mary,James,Olivia,Noah,Emma,Liam}','{Smith,O''Brien,Johnson,García-Lee,Brown}','{mary,james,olivia,noah}','{"+1 ({block}) 555-{4}","{block}-555-{4}","+1{block}555{4}","1 {block} 555 {4}"}',
  '{201,202,203,205,206,207,208,209,210,212,213,214,215,216,217,218,219,225,228,229,231,234,239,240,248,251,252,253,254,256,260,262,267,269,
    270,276,281,301,302,303,304,305,307,308,309,310,312,313,314,315,316,317,318,319,320,321,323,325,330,334,336,337,347,351,352,360,361,386,
    401,402,404,405,406,407,408,409,410,412,413,414,415,417,419,423,425,432,434,435,440,443,469,478,479,480,484,501,502,503,504,505}'),
(1,'DE','de','{Berlin,Köln,München}','{Jürgen,Änne,Zoë,Björn,Heike,Jörg}','{Müller,Weiß,Schröder,Groß,von der Heide}','{juergen,aenne,zoe,bjoern}','{"0151 {8}","+49151{8}","0049 151 {8}","+49 (0)151 {8}"}',NULL),
(2,'GB','en','{London,Leeds,Bath}','{Oliver,Amelia,Harry,Isla}','{Taylor,Evans,MacDonald,Smythe-Jones}','{oliver,amelia,harry,isla}','{"0{block}{3}","+44 {block}{3}","0044 {block}{3}","+44 (0){block}{3}"}',
  '{"113 496 0","114 496 0","115 496 0","116 496 0","117 496 0","118 496 0","121 496 0","131 496 0","141 496 0","151 496 0","161 496 0","191 498 0","20 7946 0","28 9649 6","29 2018 0","1632 960 ","7700 900 ","8081 570 "}'),
(3,'FR','fr','{Paris,Lyon,Nîmes}','{François,Zoé,Anaïs,Gaël}','{Lefèvre,D''Aubigné,Noël,Garçon}','{francois,zoe,anais,gael}','{"0{block} {4}","+33 {block} {4}","0033 {block} {4}"}',
  '{"1 99 00","2 61 91","3 53 01","4 65 71","5 36 49","6 39 98"}'),
(4,'PL','pl','{Łódź,Kraków,Gdańsk}','{Łukasz,Żaneta,Paweł,Małgorzata}','{Wiśniewski,Kowalczyk,Żuraw}','{lukasz,zaneta,pawel}','{"+48 512 {6}","512 {6}"}',NULL),
(5,'RU','ru','{Москва,Казань}','{Анна,Дмитрий,Ольга,Фёдор}','{Иванова,Смирнов,Щукина}','{anna,dmitri,olga,fedor}','{"+7 912 {7}","8 912 {7}"}',NULL),
(6,'GR','el','{Αθήνα,Πάτρα}','{Γιώργος,Ελένη,Μαρία}','{Παπαδόπουλος,Νικολάου}','{giorgos,eleni,maria}','{"+30 691 {7}","691{7}"}',NULL),
(7,'JP','ja','{東京,大阪}','{太郎,花子,さくら}','{山田,佐藤,髙橋}','{taro,hanako,sakura}','{"090-{h}-{l}","+8190{8}"}',NULL),
(8,'CN','zh','{北京,上海}','{伟,芳,秀英}','{王,李,欧阳}','{wei,fang,xiuying}','{"+86 138 {8}","138{8}"}',NULL),
(9,'KR','ko','{서울,부산}','{민준,서연,지우}','{김,이,박}','{minjun,seoyeon,jiwoo}','{"010-{h}-{l}","+8210{8}"}',NULL),
(10,'EG','ar','{القاهرة}','{محمد,فاطمة}','{حسن,عبد الله}','{mohamed,fatima}','{"+20 100 {7}","0100{7}"}',NULL),
(11,'IL','he','{תל אביב}','{נועה,יוסף}','{כהן,לוי}','{noa,yosef}','{"+972 52 {7}","052-{7}"}',NULL);
------------------------------------------------------------------------ users
-- The phone number that belongs to an id. Scrambled by a prime factor, so that different ids have different numbers as
-- long as a country has enough of them: who shares a phone does so on purpose.
CREATE FUNCTION shop.phone(pattern text, blocks text[], id bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT replace(replace(replace(replace(replace(replace(replace(replace(pattern,
  '{block}', coalesce(blocks[1 + (n + n / w) % cardinality(blocks)], '')),
  '{h}', left(d, 4)), '{l}', right(d, 4)), '{8}', d), '{7}', right(d, 7)), '{6}', right(d, 6)), '{4}', right(d, 4)), '{3}', right(d, 3))
FROM (SELECT n, CASE WHEN pattern LIKE '%{3}%' THEN 1000 ELSE 10000 END AS w, lpad((n % 100000000)::text, 8, '0') AS d
      FROM (SELECT id * 61803419 + :seed::bigint * 7654321 AS n) scrambled) digits $$;

-- The users of a range of ids. One in two hundred has the email, and one in two hundred the phone, of the user before
-- (so that one in a hundred shares each), the phone perhaps in another way of writing.
CREATE FUNCTION shop.sign_up(first_id bigint, last_id bigint, at timestamptz, spread interval) RETURNS bigint LANGUAGE sql AS $$
WITH sharing AS (
  SELECT g AS user_id,
         CASE WHEN g > 1 AND shop.r(g, 11) < 0.005 THEN g - 1 ELSE g END AS email_id,
         CASE WHEN g > 1 AND shop.r(g, 12) < 0.005 THEN g - 1 ELSE g END AS phone_id
  FROM generate_series(first_id, last_id) g
), person AS (
  -- Who shares something lives in the same country.
  SELECT user_id, email_id, phone_id,
         (ARRAY[0,0,0,0,0,0,1,1,1,1,1,1,1,2,2,2,3,3,3,4,4,5,5,6,7,7,8,8,9,10,11])[1 + floor(shop.r(least(email_id, phone_id), 13) * 31)::int] AS k
  FROM sharing
), made AS (
  INSERT INTO shop.users
  SELECT p.user_id,
    CASE WHEN shop.r(p.email_id, 21) < 0.015 THEN NULL
         WHEN shop.r(p.email_id, 21) < 0.020 THEN ''
         WHEN shop.r(p.email_id, 21) < 0.026 THEN shop.pick(c.latin, p.email_id, 24) || '.' || p.email_id
         WHEN shop.r(p.email_id, 21) < 0.030 THEN shop.pick(c.latin, p.email_id, 24) || p.email_id || '@@example.com'
         WHEN shop.r(p.email_id, 21) < 0.09 THEN ' ' || initcap(shop.pick(c.latin, p.email_id, 24)) || '.' || p.email_id || '@Example.COM '
         WHEN shop.r(p.email_id, 21) < 0.13 THEN shop.pick(c.latin, p.email_id, 24) || '+shop' || p.email_id || '@example.org'
         WHEN shop.r(p.email_id, 21) < 0.40 THEN 'shopper.' || lpad(p.email_id::text, 6, '0') || '@gmail.com'
         ELSE shop.pick(c.latin, p.email_id, 24) || '.' || p.email_id || '@' || shop.pick('{example.com,example.org,example.net}', p.email_id, 25)
    END,
    CASE WHEN shop.r(p.phone_id, 31) < 0.25 THEN NULL
         WHEN shop.r(p.phone_id, 31) < 0.26 THEN 'call me'
         WHEN shop.r(p.phone_id, 31) < 0.27 THEN ''
         ELSE shop.phone(shop.pick(c.phones, p.user_id, 32), c.blocks, p.phone_id)
    END,
    CASE WHEN shop.r(p.user_id, 41) < 0.02 THEN NULL ELSE shop.pick(c.first, p.user_id, 42) END,
    shop.pick(c.last, p.user_id, 43),
    CASE WHEN shop.r(p.user_id, 44) < 0.02 THEN NULL WHEN shop.r(p.user_id, 44) < 0.05 THEN lower(c.country) ELSE c.country END,
    shop.pick(c.cities, p.user_id, 45),
    c.language,
    shop.r(p.user_id, 46) < 0.80,
    shop.r(p.user_id, 47) < 0.75,
    at + shop.r(p.user_id, 48) * spread,
    at + shop.r(p.user_id, 48) * spread
  FROM person p JOIN shop.countries c USING (k)
  RETURNING 1
) SELECT count(*) FROM made $$;

CREATE TABLE shop.users (
  user_id bigint NOT NULL, email text, phone text, first_name text, last_name text, country text, city text, language text,
  marketing_consent boolean NOT NULL, ads_consent boolean NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
SELECT shop.sign_up(1, :users, :now - interval '800 days', interval '800 days');
------------------------------------------------------------------------ visits
CREATE TABLE shop.orders (order_id bigint NOT NULL, user_id bigint NOT NULL, ordered_at timestamptz NOT NULL, status text NOT NULL, total numeric(12,2) NOT NULL);
CREATE TABLE shop.order_items (order_id bigint NOT NULL, product_id int NOT NULL, quantity int NOT NULL, price numeric(10,2) NOT NULL);
CREATE TABLE shop.events (event_id bigint NOT NULL, user_id bigint NOT NULL, ts timestamptz NOT NULL, event text NOT NULL, product_id int NOT NULL, order_id bigint);

-- What people do on a visit: look at a product, perhaps put it into the cart, perhaps buy it.
CREATE FUNCTION shop.visit() RETURNS TABLE (visits bigint, orders bigint) LANGUAGE sql AS $$
WITH base AS (SELECT coalesce((SELECT max(event_id) FROM shop.events), 0) AS event_id),
deep AS (
  SELECT v.*, p.price, 1 + floor(shop.r(v.visit_id, 55) * 3)::int AS quantity,
         CASE WHEN shop.r(v.visit_id, 53) < 0.45 THEN 1 WHEN shop.r(v.visit_id, 54) < 0.65 THEN 2 ELSE 3 END AS depth
  FROM shop_visits v JOIN shop.products p USING (product_id)
), happened AS (
  INSERT INTO shop.events
  SELECT base.event_id + row_number() OVER (ORDER BY d.visit_id, step), d.user_id, d.ts + step * interval '4 minutes',
         (ARRAY['view','add_to_cart','purchase'])[step], d.product_id, CASE WHEN step = 3 THEN d.visit_id END
  FROM deep d CROSS JOIN base CROSS JOIN LATERAL generate_series(1, d.depth) step
  RETURNING 1
), bought AS (
  INSERT INTO shop.orders
  SELECT visit_id, user_id, ts + interval '12 minutes', CASE WHEN shop.r(visit_id, 56) < 0.04 THEN 'cancelled' ELSE 'paid' END, price * quantity
  FROM deep WHERE depth = 3 RETURNING 1
), items AS (
  INSERT INTO shop.order_items SELECT visit_id, product_id, quantity, price FROM deep WHERE depth = 3 RETURNING 1
) SELECT (SELECT count(*) FROM shop_visits), (SELECT count(*) FROM bought) $$;
------------------------------------------------------------------------ history
-- Ever denser towards now; what would have been before somebody signed up was not. A visit takes up to 12 minutes.
CREATE TEMP TABLE shop_visits ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY user_id, n) AS visit_id, user_id, ts, (1 + floor(shop.r(user_id * 64 + n, 52) * 160))::int AS product_id
FROM (
  SELECT u.user_id, u.created_at, n, :now - interval '400 days' * power(shop.r(u.user_id * 64 + n, 51), 2.2) - interval '15 minutes' AS ts
  FROM shop.users u CROSS JOIN LATERAL generate_series(1, least(40, floor(-ln(1 - shop.r(u.user_id, 50)) * 3.3))::int) n
) thought_of WHERE ts >= created_at;
ANALYZE shop_visits;
SELECT * FROM shop.visit();
------------------------------------------------------------------------ indexes
ALTER TABLE shop.users ADD PRIMARY KEY (user_id);
ALTER TABLE shop.orders ADD PRIMARY KEY (order_id);
CREATE INDEX ON shop.orders (user_id);
CREATE INDEX ON shop.events (user_id);
CREATE INDEX ON shop.events (ts);
CREATE INDEX ON shop.order_items (order_id);
ANALYZE shop.users; ANALYZE shop.orders; ANALYZE shop.events; ANALYZE shop.order_items; ANALYZE shop.products;

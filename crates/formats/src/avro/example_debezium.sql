CREATE TABLE orders (id BIGINT, item STRING, price DECIMAL(10, 2))
WITH (
  'connector' = 'kafka',
  'topic' = 'orders',
  'properties.bootstrap.servers' = 'localhost:9092',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'debezium-avro-confluent',
  'debezium-avro-confluent.url' = 'http://localhost:8081'
);

SELECT item, SUM(price) AS total FROM orders GROUP BY item;

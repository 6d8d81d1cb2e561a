CREATE TABLE orders (
  id BIGINT,
  item STRING,
  amount DECIMAL(10, 2),
  ordered TIMESTAMP(3)
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '100000',
  'fields.id.kind' = 'sequence',
  'fields.id.start' = '1',
  'fields.id.end' = '1000',
  'fields.item.length' = '1',
  'fields.amount.min' = '1',
  'fields.amount.max' = '99',
  'fields.ordered.max-past' = '1 d'
);

SELECT item, COUNT(*) AS orders, SUM(amount) AS total FROM orders GROUP BY item;

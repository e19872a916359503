"""CSV or Parquet files in a folder: on local disk, in S3, over SFTP, or wherever fsspec reaches."""

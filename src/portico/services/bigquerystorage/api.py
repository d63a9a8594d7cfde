"""The BigQuery Storage API: tables read and written in Arrow, Avro and Protocol Buffers, by gRPC."""

from portico.services.standard.apis import Api, Grpc, Rpc

API = Api(
    name="bigquerystorage",
    versions=("v1",),
    title="BigQuery Storage (`bigquerystorage` v1, by gRPC)",
    collections=("read", "write"),
    grpc=Grpc(
        package="google.cloud.bigquery.storage.v1",
        client="google.cloud.bigquery_storage_v1",
        rpcs={
            "BigQueryRead.CreateReadSession": Rpc("CreateReadSessionRequest", "ReadSession"),
            "BigQueryRead.ReadRows": Rpc("ReadRowsRequest", "ReadRowsResponse", "answers"),
            "BigQueryRead.SplitReadStream": Rpc("SplitReadStreamRequest", "SplitReadStreamResponse"),
            "BigQueryWrite.CreateWriteStream": Rpc("CreateWriteStreamRequest", "WriteStream"),
            "BigQueryWrite.AppendRows": Rpc("AppendRowsRequest", "AppendRowsResponse", "both"),
            "BigQueryWrite.GetWriteStream": Rpc("GetWriteStreamRequest", "WriteStream"),
            "BigQueryWrite.FinalizeWriteStream": Rpc(
                "FinalizeWriteStreamRequest", "FinalizeWriteStreamResponse"
            ),
            "BigQueryWrite.BatchCommitWriteStreams": Rpc(
                "BatchCommitWriteStreamsRequest", "BatchCommitWriteStreamsResponse"
            ),
            "BigQueryWrite.FlushRows": Rpc("FlushRowsRequest", "FlushRowsResponse"),
        },
    ),
)

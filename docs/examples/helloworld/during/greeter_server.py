from concurrent import futures

import grpc
import helloworld_pb2
import helloworld_pb2_grpc
import pki


class Greeter(helloworld_pb2_grpc.GreeterServicer):
    def SayHello(self, request, context):
        return helloworld_pb2.HelloReply(message=f"Hello, {request.name}!")


me = pki.Workload.from_directory("certs/greeter", policy="policy.toml")
plain = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
secure = me.sync_server(futures.ThreadPoolExecutor(max_workers=10))
for server in (plain, secure):
    helloworld_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
plain.add_insecure_port("localhost:50051")
secure.add_secure_port("localhost:50052")
plain.start()
secure.start()
secure.wait_for_termination()

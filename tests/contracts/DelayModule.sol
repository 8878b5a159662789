// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

interface ISafe {
    function execTransactionFromModule(address to, uint256 value, bytes calldata data, uint8 operation)
        external
        returns (bool);
}

/// @dev For tests: a Safe module that holds transactions back for a while, with the calls of Zodiac's Delay modifier that
///      cancelling needs (queueNonce, txNonce, setTxNonce). Whoever is the proposer queues; the Safe itself owns it.
contract DelayModule {
    ISafe public immutable avatar;
    address public immutable proposer;
    uint256 public immutable txCooldown;
    uint256 public txNonce;
    uint256 public queueNonce;
    mapping(uint256 => bytes32) public txHash;
    mapping(uint256 => uint256) public txCreatedAt;

    constructor(ISafe safe, address proposer_, uint256 cooldown) {
        avatar = safe;
        proposer = proposer_;
        txCooldown = cooldown;
    }

    function execTransactionFromModule(address to, uint256 value, bytes calldata data, uint8 operation)
        external
        returns (bool)
    {
        require(msg.sender == proposer, "not the proposer");
        txHash[queueNonce] = keccak256(abi.encode(to, value, data, operation));
        txCreatedAt[queueNonce] = block.timestamp;
        queueNonce++;
        return true;
    }

    function executeNextTx(address to, uint256 value, bytes calldata data, uint8 operation) external {
        require(txNonce < queueNonce, "queue is empty");
        require(txHash[txNonce] == keccak256(abi.encode(to, value, data, operation)), "another transaction is next");
        require(block.timestamp - txCreatedAt[txNonce] >= txCooldown, "still in its delay");
        txNonce++;
        require(avatar.execTransactionFromModule(to, value, data, operation), "the Safe refused");
    }

    /// @notice Skips what is queued below `nonce`.
    function setTxNonce(uint256 nonce) external {
        require(msg.sender == address(avatar), "not the Safe");
        require(nonce > txNonce && nonce <= queueNonce, "no such place in the queue");
        txNonce = nonce;
    }
}
